"""When a run commits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """How often a loop commits: after so many records, so many seconds, or an order, whichever is first.

    But writing takes no more than a ``share`` of the time (whoever is killed decides the same orders again), unless
    ``most`` records wait for it: what is not committed is held in memory.
    """

    records: int = 10_000
    most: int = 100_000
    seconds: float = 1.0
    share: float = 0.04
    _records: int = 0
    _at: float = field(default=0.0)
    _not_before: float = field(default=0.0)

    def is_due(self, now: float, *, has_orders: bool) -> bool:
        """Say whether it is time, with something to commit."""
        wanted = has_orders or self._records >= self.records or now - self._at >= self.seconds
        return self._records >= self.most or (wanted and now >= self._not_before)

    def is_pressing(self, now: float) -> bool:
        """Whether a commit that is due is worth waiting for what has to be read before."""
        return self._records >= self.records or now - self._at >= 2 * self.seconds

    def delivered(self, records: int) -> None:
        """Count records."""
        self._records += records

    def began(self, now: float) -> None:
        """Note that what was counted is being written."""
        self._records, self._at, self._not_before = 0, now, math.inf

    def ended(self, began: float, now: float) -> None:
        """Note that it was written, and how long that took."""
        self._not_before = now + (now - began) / self.share

    def anew(self) -> None:
        """Forget what was counted: it will be delivered again."""
        self._records = 0
