"""What the engine reads from one node: records that wait until every other source is as far. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE


@dataclass(slots=True)
class Source:
    """Records of one node between the topic and the engine.

    Attributes
    ----------
    interval : int
        Seconds of its buckets.
    through : int
        Everything that ends at or before it has been put here, seconds UTC.
    """

    interval: int
    through: int = NONE
    _parts: deque[Rows] = field(default_factory=deque)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    @property
    def frontier(self) -> int:
        """Return the last moment that is known to be complete: before the end of the next bucket."""
        if self.through == NONE:
            return NONE
        return self.through - self.through % self.interval + self.interval - 1

    def put(self, rows: Rows | None, through: int) -> None:
        """Add records that follow those before."""
        if rows is not None and len(rows):
            self._parts.append(rows)
            self._count += len(rows)
        self.through = max(self.through, through)

    @property
    def first_end(self) -> int | None:
        """End of the first record that waits."""
        return int(self._parts[0].ts[0]) + self.interval if self._parts else None

    def take(self, until: int) -> Rows | None:
        """Remove and return the records that end at or before a moment."""
        taken = []
        while self._parts:
            part = self._parts.popleft()
            k = int(np.searchsorted(part.ts, until - self.interval, side="right"))
            if k:
                taken.append(part.part(0, k))
            if k < len(part):
                self._parts.appendleft(part.part(k))
                break
        if not taken:
            return None
        rows = Rows.joined(taken)
        self._count -= len(rows)
        return rows
