"""Where in a topic its records are. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Self

#: So many places are remembered; when there are more, they are thinned.
_MOST = 192
#: Neighbours are no farther apart than this share of their distance from the newest.
_SHARE = 0.25


class Places:
    """Positions by bucket: each of the newest records, and fewer and fewer farther back.

    So whoever reads again begins where it wants, or a third as far again before, however long the topic is.

    Examples
    --------
    >>> places = Places()
    >>> for position in range(100_000):
    ...     places.add(position, 60 * position)
    >>> places.before(60 * 99_999), places.before(10**9), places.before(-60), len(places) <= _MOST
    (99999, 99999, 0, True)
    >>> 98_500 <= places.before(60 * 99_000) <= 99_000
    True
    """

    def __init__(self) -> None:
        self._positions, self._buckets = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, position: int, bucket: int) -> None:
        """Take the position in front of records, all of them newer than those before, and their first bucket."""
        self._positions.append(position)
        self._buckets.append(bucket)
        if len(self) > _MOST:
            self._thin()

    def before(self, bucket: int) -> int:
        """Return a position in front of everything from a bucket on: 0 if all that is known is newer."""
        behind = bisect_right(self._buckets, bucket)
        return self._positions[behind - 1] if behind else 0

    def _thin(self) -> None:
        """Drop places between neighbours that are near each other, as near as they are far from the newest."""
        buckets, last = self._buckets, len(self) - 1
        at = [last]
        for k in range(last - 1, 0, -1):
            if buckets[at[-1]] - buckets[k - 1] > _SHARE * (buckets[last] - buckets[k - 1]):
                at.append(k)
        at = [0, *reversed(at)]
        self._positions = array("q", [self._positions[k] for k in at])
        self._buckets = array("q", [buckets[k] for k in at])

    def encoded(self) -> bytes:
        """Return it as bytes."""
        return self._positions.tobytes() + self._buckets.tobytes()

    @classmethod
    def of(cls, encoded: bytes) -> Self:
        """Return the places of bytes."""
        made, half = cls(), len(encoded) // 2
        made._positions.frombytes(encoded[:half])
        made._buckets.frombytes(encoded[half:])
        return made
