"""The thread that reads a topic and seals its bars."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from qmtl.streams.records import Topic, UnreadableError
from qmtl.streams.seal import Bars, Sealer, Tally

#: A topic is read from so many intervals before what is wanted, so that duplicates and late bars are known as such.
BEFORE = 64
_AT_ONCE = 500
_SLICE_S = 0.1
_ANSWER_S = 2.0
#: After a failure it is tried again so much later, in seconds.
_AGAIN_S = 0.5
_END = KafkaError._PARTITION_EOF  # noqa: SLF001  (the client's own faults are named so)
_CONSUMER = {
    # The client wants a name, but topics are assigned, so no group is ever joined.
    "group.id": "qmtl-feed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 50,
    "fetch.error.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "queued.max.messages.kbytes": 16_384,
}


class Reader:
    """See the module.

    Parameters
    ----------
    topic : Topic
        What to read.
    interval : int
        Seconds of a bucket.
    give : callable
        Takes what was sealed: ``give(sought, sealed, late, through)``.
    is_full : callable
        Whether to pause.
    now : callable
        The clock of the bars, seconds UTC.

    Attributes
    ----------
    sought : tuple of int
        How often bars were asked for from somewhere, and after which bucket the last time.
    problem : str
        Why nothing comes; empty when all is well.
    """

    def __init__(
        self,
        topic: Topic,
        interval: int,
        give: Callable[[tuple[int, int], Bars, Bars, int | None], None],
        is_full: Callable[[], bool],
        now: Callable[[], float],
    ) -> None:
        self._topic, self._interval, self._now = topic, interval, now
        self._give, self._is_full = give, is_full
        self.sought = (0, 0)
        self.problem = ""
        self._reading = (0, 0)
        self._sealer = Sealer(interval, topic.grace_s)
        self._next = 0
        self._is_paused = self._is_broken = False
        self._place: TopicPartition | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {topic.name}", daemon=True)

    @property
    def tally(self) -> Tally:
        """What became of the records since the last seek."""
        return self._sealer.tally

    def seek(self, after: int) -> None:
        """Read everything behind a bucket; what was asked for before is given up."""
        self.sought = (self.sought[0] + 1, after)
        if self._thread.ident is None:
            self._thread.start()

    def close(self, within_s: float) -> None:
        """End the thread."""
        self._leave.set()
        if self._thread.ident is not None:
            self._thread.join(within_s)

    # -------------------------------------------------------------------------------- thread

    def _run(self) -> None:
        consumer = self._consumer()
        try:
            while not self._leave.is_set():
                try:
                    self._turn(consumer)
                except KafkaException as error:
                    self._fail(error.args[0])
                except Exception as error:  # noqa: BLE001  (whatever it is: the runner's loop goes on and shows it)
                    self._fail(error)
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        made: dict[str, Any] = {"bootstrap.servers": self._topic.servers, "client.id": "qmtl", **_CONSUMER}
        told = {"error_cb": self._tell, **(self._topic.client or {})}
        return Consumer(made | told, logger=logging.getLogger("qmtl.kafka"))

    def _turn(self, consumer: Consumer) -> None:
        if self._reading != (sought := self.sought):
            self._begin(consumer, sought[1])
            self._reading = sought
        elif self._is_broken:
            self._assign(consumer)
        self._throttle(consumer)
        first = consumer.poll(_SLICE_S)
        messages = [] if first is None else [first, *consumer.consume(_AT_ONCE, 0)]
        for message in messages:
            self._read(message)
        if not messages and (self.problem or self._sealer.is_due(self._now())) and not self._is_paused:
            self._pass(consumer)
        sealed, late = self._sealer.taken()
        self._give(self._reading, sealed, late, self._sealer.through)

    def _begin(self, consumer: Consumer, after: int) -> None:
        """Find the place in the topic from which on every bar behind a bucket is read."""
        self._place = TopicPartition(self._topic.name, self._partition(consumer))
        offset = OFFSET_BEGINNING
        since = (after - BEFORE * self._interval) * 1000
        if since > 0:
            asked = TopicPartition(self._topic.name, self._place.partition, since)
            offset = consumer.offsets_for_times([asked], timeout=_ANSWER_S)[0].offset
        low, high = consumer.get_watermark_offsets(self._place, timeout=_ANSWER_S)
        self._next = low if offset == OFFSET_BEGINNING else high if offset < 0 else offset
        self._sealer = Sealer(self._interval, self._topic.grace_s)
        self._assign(consumer)

    def _assign(self, consumer: Consumer) -> None:
        """Read on behind the last record; after a failure there may have been more in the hand."""
        assert self._place is not None, "nothing is read before the topic is found"
        consumer.assign([TopicPartition(self._topic.name, self._place.partition, self._next)])
        self._is_paused = self._is_broken = False
        self.problem = ""

    def _partition(self, consumer: Consumer) -> int:
        if self._topic.partition is not None:
            return self._topic.partition
        found = consumer.list_topics(self._topic.name, timeout=_ANSWER_S).topics[self._topic.name]
        if found.error is not None:
            raise KafkaException(found.error)
        if len(found.partitions) != 1:
            raise ValueError(
                f"topic {self._topic.name} has {len(found.partitions)} partitions, which have no common order: "
                "say which, such as partition=0"
            )
        return 0

    def _throttle(self, consumer: Consumer) -> None:
        is_full = self._is_full()
        if is_full != self._is_paused and self._place is not None:
            (consumer.pause if is_full else consumer.resume)([self._place])
            self._is_paused = is_full

    def _read(self, message: Message) -> None:
        error, offset = message.error(), int(message.offset() or 0)
        if error is not None and error.code() != _END:
            raise KafkaException(error)
        self.problem = ""
        if error is not None:
            self._next = offset
            return
        self._next = offset + 1
        kind, written = message.timestamp()
        at = self._now() if kind == TIMESTAMP_NOT_AVAILABLE else written / 1000
        try:
            bucket, values, closed = self._topic.layout.read(message.value())
        except UnreadableError as error:
            self._sealer.refuse(str(error))
            return
        self._sealer.put(bucket, values, at, closed=closed)

    def _pass(self, consumer: Consumer) -> None:
        """Let time pass if everything that was written by now has been read."""
        now = self._now()
        assert self._place is not None, "nothing is passed over before the topic is found"
        _, high = consumer.get_watermark_offsets(self._place, timeout=_ANSWER_S)
        self.problem = ""
        if high <= self._next:
            self._sealer.tick(now)

    def _tell(self, error: KafkaError) -> None:
        self.problem = f"Kafka at {self._topic.servers}: {error.str()}"

    def _fail(self, error: BaseException) -> None:
        """Say what is wrong, and read on from the same place, later."""
        self._is_broken = True
        said = error.str() if isinstance(error, KafkaError) else str(error)
        self.problem = f"Kafka at {self._topic.servers}, topic {self._topic.name}: {said}"
        self._leave.wait(_AGAIN_S)
