"""Where in a topic its buckets begin, for brokers that do not know."""

from __future__ import annotations

from array import array
from bisect import bisect_left

_CAPACITY = 1024


class BucketIndex:
    """Grows while a topic is read from its beginning, and is thinned so that it stays small.

    A bucket cannot be found by halving: behind later buckets there may be earlier ones (repairs, and what a producer
    wrote that did not know yet that it was replaced). The highest bucket *up to* a position only grows: that is kept.

    Examples
    --------
    >>> index = BucketIndex()
    >>> for position, bucket in enumerate((0, 60, None, 120, 60, 180)):
    ...     index.add(position, position, bucket)
    >>> index.before(60), index.before(121), index.before(999), index.end
    (1, 4, 6, 6)
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self.end = 0
        self.highest: int | None = None
        self._capacity, self._stride, self._passed = capacity, 1, 0
        self._positions, self._highest = array("q"), array("q")

    def add(self, since: int, position: int, bucket: int | None) -> None:
        """Take the last bucket of the entry at a position, the first one from ``since`` on.

        What does not continue is passed over: something unknown would lie between.
        """
        if not since <= self.end <= position:
            return
        self.end = position + 1
        if bucket is None or (self.highest is not None and bucket <= self.highest):
            return
        self.highest = bucket
        self._passed += 1
        if self._passed >= self._stride:
            self._mark(position, bucket)

    def _mark(self, position: int, bucket: int) -> None:
        self._passed = 0
        self._positions.append(position)
        self._highest.append(bucket)
        if len(self._positions) > self._capacity:
            self._positions, self._highest = self._positions[::2], self._highest[::2]
            self._stride *= 2

    def reaches(self, bucket: int) -> bool:
        """Whether that bucket or a later one has been seen."""
        return self.highest is not None and self.highest >= bucket

    def before(self, bucket: int) -> int:
        """Return a position in front of the first entry with that bucket or a later one; the end if there is none."""
        if not self.reaches(bucket):
            return self.end
        behind = bisect_left(self._highest, bucket)
        return self._positions[behind - 1] + 1 if behind else 0
