"""Bars from a topic of Kafka that somebody else writes.

A record is judged by the moment at which it was written, which the topic keeps: whoever reads it, from wherever, seals
the same bars. Time passes over a bucket only when everything that was written by then has been read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

import numpy as np

from qmtl.errors import MissingExtraError
from qmtl.frame import Frame
from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.records import Topic
from qmtl.streams.seal import Bar, Bars, Tally

#: Sealed bars that wait to be fetched; with so many the consumer pauses.
ROOM = 16_384
#: A runner that waits comes again after so many seconds.
_TURN_S = 0.01
#: So many bars in a row after their grace are told as a problem.
_ALWAYS_LATE = 3
_LEAVE_S = 4.0


class KafkaFeed(Feed):
    """A consumer in a thread of its own, started when the feed is asked first.

    Parameters
    ----------
    topic : Topic
        Where the bars are; see :func:`qmtl.streams.records.parse_topic`.
    interval : int
        Seconds of a bucket.
    begin : int
        Bars of earlier buckets are not wanted, seconds UTC.
    now : callable
        The clock of the bars, seconds UTC.

    Raises
    ------
    MissingExtraError
        The driver is not installed.
    """

    def __init__(self, topic: Topic, interval: int, begin: int = 0, now: Callable[[], float] = time.time) -> None:
        try:
            from qmtl.streams.kafka_reader import Reader
        except ImportError as error:
            raise MissingExtraError(f"kafka:// needs {error.name!r}", hint="uv pip install 'qmtl[kafka]'") from error
        self.repairs, self.fields = topic.repairs, topic.layout.fields
        self._topic, self._interval, self._begin, self._now = topic, interval, begin, now
        self._lock = threading.Lock()
        self._bars: deque[Bar] = deque()
        self._late: deque[Bar] = deque()
        self._through: int | None = None
        self._after: int | None = None
        self._in_a_row, self._came = 0, now()
        self._reader = Reader(topic, interval, self._take, self._is_full, now)

    def arrived(self, after: int, limit: int) -> Arrived:
        after = max(after, self._begin - self._interval)
        with self._lock:
            if self._after is None or after < self._after:
                self._bars.clear()
                self._late.clear()
                self._after, self._through, self._came = after, None, self._now()
                self._reader.seek(after)
                return Arrived(wait_s=_TURN_S)
            self._after = after
            while self._bars and self._bars[0][0] <= after:
                self._bars.popleft()
            bars, late = [*islice(self._bars, limit)], [*self._late]
            self._late.clear()
            more = len(self._bars) > limit
            through = self._bars[limit][0] if more else self._through
        return Arrived(self._as_frame(bars), through, 0.0 if more else _TURN_S, self._as_frame(late))

    @property
    def tally(self) -> Tally:
        """What became of the records since the topic was sought last."""
        return self._reader.tally

    @property
    def problem(self) -> str:
        if self._reader.problem:
            return self._reader.problem
        if self._in_a_row >= _ALWAYS_LATE:
            return (
                f"the last {self._in_a_row} bars of {self._topic.name} came after their grace of "
                f"{self._topic.grace_s} s: give a longer one, such as grace=10"
            )
        silent = self.silent_s()
        if silent <= 2 * self._interval + (self._topic.grace_s or 0):
            return ""
        refused = ", ".join(f"{count} × {why}" for why, count in self._reader.tally.refused.most_common(3))
        return f"no bar for {silent:.0f} s" + (f"; records that are none: {refused}" if refused else "")

    def silent_s(self) -> float:
        with self._lock:
            waits = bool(self._bars) or self._after is None
            return 0.0 if waits else max(0.0, self._now() - self._came)

    def close(self) -> None:
        self._reader.close(_LEAVE_S)

    def _take(self, sought: tuple[int, int], sealed: Bars, late: Bars, through: int | None) -> None:
        """Take what the reader sealed; what was read before the last seek is dropped."""
        with self._lock:
            if sought != self._reader.sought:
                return
            self._bars += [bar for bar in sealed if self._after is None or bar[0] > self._after]
            self._late += [bar for bar in late if bar[0] >= self._begin]
            self._through = through
            self._in_a_row = 0 if sealed else self._in_a_row + len(late)
            if sealed or late:
                self._came = self._now()

    def _is_full(self) -> bool:
        return max(len(self._bars), len(self._late)) >= ROOM

    def _as_frame(self, bars: Bars) -> Frame | None:
        if not bars:
            return None
        values = np.array([row for _, row in bars])
        columns = {n: np.ascontiguousarray(values[:, k : k + 1]) for k, n in enumerate(self._topic.layout.fields)}
        return Frame(np.array([start for start, _ in bars], np.int64), columns, self._interval)
