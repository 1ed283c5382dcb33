"""Records in topics of Kafka, partition 0 of each; URLs as in :mod:`qmtl.backends.kafka`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from qmtl.backends.bucket_index import BucketIndex
from qmtl.backends.kafka import LARGEST, KafkaBroker, settings
from qmtl.errors import UnavailableError, WriteError
from qmtl.ports.record_log import Entry, RecordLog
from qmtl.telemetry.logs import logger
from qmtl.wire.records import Batch, decode, encode

#: Without any progress for so long nobody answers, in seconds.
_ANSWER_S = 5.0
#: A question beside that decides nothing, and the silence after which a reader asks whether anybody is there.
_LOOK_S, _SILENCE_S = 1.0, 3.0
#: A reader that is told to stop does so within this time, in seconds.
_SLICE_S = 0.1
_AT_ONCE = 1000
#: Connections that write.
_LANES = 4
_GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
_END = KafkaError._PARTITION_EOF  # noqa: SLF001  (the client's own faults are named so)
_PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 0,
    # A batch that is refused ends the producer: nothing may come behind a gap.
    "enable.gapless.guarantee": True,
    # How long is too long is decided here, where the rest can be thrown away with it.
    "message.timeout.ms": 0,
    # The client warns that this guarantee is new; what fails is told by exceptions.
    "log_level": 3,
    "message.max.bytes": LARGEST + 2**16,
    "queue.buffering.max.kbytes": 2 * LARGEST // 1024,
}
_CONSUMER = {
    # The client wants a name, but topics are assigned, so no group is ever joined.
    "group.id": "qmtl-reader",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    # Data is answered at once; a change of what is read takes effect with the next request.
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 20,
    "fetch.error.backoff.ms": 50,
    "fetch.queue.backoff.ms": 20,
    "queued.max.messages.kbytes": 2 * LARGEST // 1024,
}

_log = logger("kafka")
_client_log = logging.getLogger("qmtl.kafka")


class _Message(NamedTuple):
    topic: str
    key: str
    value: bytes
    headers: list[tuple[str, bytes]]


class KafkaLog(RecordLog):
    """Producers and a consumer, with a thread for each side; epochs are not known here, so nothing is refused.

    What was acknowledged survives a crash of the broker's process; a crash of its machine is what replicas are for.
    """

    kind = "kafka"

    def __init__(self, url: str) -> None:
        given = settings(url)
        self._admin = _Administration(AdminClient(given, logger=_client_log))
        self._writer, self._reader = _Writer(given), _Reader(given)
        self._there: set[str] = set()
        self._heard = time.monotonic()

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open by URL; whether somebody answers shows with the first call."""
        return cls(url)

    async def check(self) -> str:
        return await self._admin.check()

    async def append(self, batches: Sequence[tuple[str, Batch]]) -> set[str]:
        messages = [_message(topic, batch) for topic, batch in batches]
        topics = {topic for topic, _ in batches}
        await self._check_there(topics)
        try:
            await self._writer.send(messages)
        except (KafkaException, TimeoutError) as error:
            self._there -= topics
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):  # the reason may be that it was deleted
                    await self._check_there(topics)
            raise _told(error) from error
        return set()

    async def _check_there(self, topics: set[str]) -> None:
        if unknown := topics - self._there:
            self._there |= await self._admin.exist(sorted(unknown))
        if missing := topics - self._there:
            raise UnavailableError(f"there is no topic {min(missing)}", dependency="log", hint="was it collected?")

    async def read(self, positions: Mapping[str, int], limit: int, wait_s: float) -> dict[str, list[Entry]]:
        ends = time.monotonic() + wait_s
        while True:
            left = ends - time.monotonic()
            found = await self._reader.read(positions, limit, max(0.0, min(left, _SILENCE_S)))
            if found:
                self._heard = time.monotonic()
                return found
            if self._reader.ended.is_set():
                return {}
            await self._assure()
            if time.monotonic() >= ends:
                return {}

    async def _assure(self) -> None:
        """Ask whether anybody is there, for a silent topic and a dead broker look the same to a consumer."""
        if self._reader.doubts or time.monotonic() - self._heard > _SILENCE_S:
            self._reader.doubts = False
            await self._admin.answers()
            self._heard = time.monotonic()

    async def seek(self, buckets: Mapping[str, int]) -> dict[str, int]:
        """See the port. A topic is read once for it, and later on from there, for Kafka knows no buckets.

        (It finds messages by their time, but by that it also removes them: what is replayed from last year would
        be gone at once.)
        """
        if unread := self._reader.unread(buckets):
            there = await self._admin.exist(unread)
            try:
                await asyncio.to_thread(self._reader.explore, there)
            except (KafkaException, TimeoutError) as error:
                raise _told(error) from error
        return self._reader.before(buckets)

    async def ends(self, topics: Sequence[str]) -> dict[str, int]:
        there = await self._admin.exist(topics)
        places = [TopicPartition(topic, 0) for topic in there]
        found = await self._admin.offsets(places, OffsetSpec.latest()) if places else {}
        return {topic: found.get((topic, 0), 0) for topic in topics}

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()


class _Administration(KafkaBroker):
    """That of the broker, telling its faults as the log's."""

    role = RecordLog.role

    async def answers(self) -> None:
        """Raise unless somebody answers."""
        await self._told(asyncio.wrap_future(self._admin.describe_cluster(request_timeout=_SILENCE_S)))


class _Writer:
    """Sends one append after the other, on several connections, for the client sends a request for each topic.

    (A broker answers the requests of one connection one by one. A topic keeps its connection, so it keeps its order.)

    After a failure the producers are thrown away with all that they have not sent, and the next append gets others.
    So what a topic has of an append is always its beginning, and no later batch can say that an earlier one is there.

    A producer gets its id from the broker half a second after it was made, or later: all are made long before they
    are needed, so that who takes over writes at once.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._settings = {**_PRODUCER, **given}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-append")
        self._producers = self._made()
        self._lanes: dict[str, int] = {}
        self._ended = threading.Event()

    def _made(self) -> list[Producer]:
        return [Producer(self._settings, logger=_client_log) for _ in range(_LANES)]

    async def send(self, messages: Sequence[_Message]) -> None:
        """Return when everything is acknowledged; raises KafkaException or TimeoutError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send, messages)

    def _send(self, messages: Sequence[_Message]) -> None:
        producers, told = self._producers, list[KafkaError | None]()
        try:
            for message in messages:
                _produce(producers[self._lane(message.topic)], message, told)
            self._wait(producers, told, len(messages))
        except (KafkaException, TimeoutError):
            for producer in producers:
                producer.purge()
            if not self._ended.is_set():
                self._producers = self._made()
            raise

    def _lane(self, topic: str) -> int:
        return self._lanes.setdefault(topic, len(self._lanes) % _LANES)

    def _wait(self, producers: Sequence[Producer], told: Sequence[KafkaError | None], count: int) -> None:
        """Return when so many messages are acknowledged."""
        before, ends = 0, time.monotonic() + _ANSWER_S
        while len(told) < count and time.monotonic() < ends and not self._ended.is_set():
            for producer in producers:
                producer.flush(_SLICE_S)
            if len(told) > before:
                before, ends = len(told), time.monotonic() + _ANSWER_S
        fault = next((error for error in told if error is not None), None)
        if fault is not None or len(told) < count:
            raise _silent() if fault is None else KafkaException(fault)

    async def close(self) -> None:
        """End the producers; an append that nobody waits for any more is given up."""
        self._ended.set()
        self._producers = []
        self._thread.shutdown(wait=False)


def _produce(producer: Producer, message: _Message, told: list[KafkaError | None]) -> None:
    """Hand a message over, waiting while the producer holds as much as it may; ``told`` gets what comes of it."""

    def done(error: KafkaError | None, _: Message) -> None:
        told.append(error)

    topic, key, value, headers = message
    ends = time.monotonic() + _ANSWER_S
    while True:
        try:
            producer.produce(topic, value, key, partition=0, on_delivery=done, headers=headers)
        except BufferError:
            if time.monotonic() > ends:
                raise _silent() from None
            producer.poll(_SLICE_S)
        else:
            return


class _Reader:
    """A consumer that stays where it is: only topics whose position is not where the last read ended are moved."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._settings = {**_CONSUMER, **given}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-read")
        self.doubts = False
        self._consumer = Consumer({**self._settings, "error_cb": self._doubt}, logger=_client_log)
        #: The position that a topic was read up to.
        self._given: dict[str, int] = {}
        self._indexes: dict[str, BucketIndex] = {}
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def _doubt(self, _: KafkaError) -> None:
        self.doubts = True

    async def read(self, positions: Mapping[str, int], limit: int, wait_s: float) -> dict[str, list[Entry]]:
        loop, stop = asyncio.get_running_loop(), threading.Event()
        try:
            return await loop.run_in_executor(self._thread, self._read, positions, limit, wait_s, stop)
        except KafkaException as error:
            raise _told(error) from error
        finally:
            stop.set()  # if nobody waits any more, neither does the thread

    def _read(
        self, positions: Mapping[str, int], limit: int, wait_s: float, stop: threading.Event
    ) -> dict[str, list[Entry]]:
        self._place(positions)
        ends = time.monotonic() + wait_s
        while not stop.is_set() and not self.ended.is_set():
            left = max(0.0, ends - time.monotonic())
            messages = _came(self._consumer, limit, min(left, _SLICE_S))
            if found := self._entries(messages):
                return found
            if not messages and (not left or self.doubts):
                break
        return {}

    def _place(self, positions: Mapping[str, int]) -> None:
        moved = {topic: position for topic, position in positions.items() if self._given.get(topic) != position}
        self._leave([topic for topic in self._given if topic in moved or topic not in positions])
        if moved:
            self._consumer.incremental_assign([TopicPartition(topic, 0, place) for topic, place in moved.items()])
            self._given |= moved

    def _leave(self, topics: Collection[str]) -> None:
        if topics:
            self._consumer.incremental_unassign([TopicPartition(topic, 0) for topic in topics])
        for topic in topics:
            del self._given[topic]

    def _entries(self, messages: Iterable[Message]) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for message in messages:
            topic, error = message.topic(), message.error()
            if error is not None:
                if error.code() in _GONE and topic in self._given:
                    self._leave([topic])  # the next read looks whether it is there again
                continue
            if topic not in self._given:
                continue
            if (batch := _batch(message)) is not None:
                self._given[topic] = message.offset() + 1
                found.setdefault(topic, []).append(Entry(self._given[topic], batch))
        return found

    # ------------------------------------------------------------------------------------ seek

    def _note(self, since: int, message: Message) -> None:
        topic = message.topic()
        with self._lock:
            self._indexes.setdefault(topic, BucketIndex()).add(since, message.offset(), _last_bucket(message))

    def before(self, buckets: Mapping[str, int]) -> dict[str, int]:
        """Return positions in front of buckets, as far as topics have been explored."""
        with self._lock:
            indexes = {topic: self._indexes.setdefault(topic, BucketIndex()) for topic in buckets}
            return {topic: indexes[topic].before(bucket) for topic, bucket in buckets.items()}

    def unread(self, buckets: Mapping[str, int]) -> list[str]:
        """Return topics in which no such bucket has been seen."""
        with self._lock:
            return [t for t, b in buckets.items() if t not in self._indexes or not self._indexes[t].reaches(b)]

    def explore(self, topics: Collection[str]) -> None:
        """Read on to the ends of topics, only to know what is where."""
        with self._lock:
            left = {topic: self._indexes.setdefault(topic, BucketIndex()).end for topic in topics}
        consumer = Consumer({**self._settings, "enable.partition.eof": True}, logger=_client_log)
        heard = time.monotonic()
        try:
            consumer.assign([TopicPartition(topic, 0, end) for topic, end in left.items()])
            while left and not self.ended.is_set():
                messages = _came(consumer, _AT_ONCE, _SLICE_S)
                self._explored(messages, left)
                if messages:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _ANSWER_S:
                    raise _silent()
        finally:
            consumer.close()

    def _explored(self, messages: Iterable[Message], left: dict[str, int]) -> None:
        for message in messages:
            topic, error = message.topic(), message.error()
            if error is None and topic in left:
                self._note(left[topic], message)
                left[topic] = message.offset() + 1
            elif error is not None and (error.code() == _END or error.code() in _GONE):
                left.pop(topic, None)

    async def close(self) -> None:
        """End the consumer, also under a read that waits."""
        if self.ended.is_set():
            return
        self.ended.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
        self._thread.shutdown(wait=False)


def _came(consumer: Consumer, limit: int, wait_s: float) -> list[Message]:
    """Return what there is, waiting for the first only."""
    first = consumer.poll(wait_s)
    if first is None:
        return []
    more = min(limit, _AT_ONCE) - 1
    return [first, *(consumer.consume(more, 0.0) if more else ())]


def _message(topic: str, batch: Batch) -> _Message:
    """Return a batch with headers for those who do not read batches: ``bucket`` is the last one."""
    value, span = encode(batch), batch.span
    if len(value) > LARGEST:
        what = f"a batch of topic {topic} has {len(value):,} bytes, more than the {LARGEST:,} of a message"
        raise WriteError(what, hint="put fewer buckets into one batch")
    headers = {"epoch": str(batch.epoch), "revision": str(batch.revision), "schema": ",".join(batch.fields)}
    if span is not None:
        headers["bucket"] = str(span[1])
    if batch.trace:
        headers["traceparent"] = batch.trace
    return _Message(topic, batch.node_id, value, [(name, text.encode()) for name, text in headers.items()])


def _last_bucket(message: Message) -> int | None:
    found = dict(message.headers() or ()).get("bucket")
    return int(found) if found else None


def _batch(message: Message) -> Batch | None:
    """Return the batch, or None for what somebody else wrote into the topic."""
    try:
        return decode(message.value() or b"")
    except msgspec.DecodeError as error:
        _log.warning("no batch of records", topic=message.topic(), position=message.offset(), error=str(error))
        return None


def _told(error: BaseException) -> UnavailableError:
    fault = error.args[0] if isinstance(error, KafkaException) else None
    return UnavailableError(f"Kafka: {fault.str() if fault is not None else error}", dependency=RecordLog.role)


def _silent() -> TimeoutError:
    return TimeoutError(f"nobody answered within {_ANSWER_S:.0f} s")
