"""A circuit breaker: after some failures in a row, calls fail at once for a while, then one may try. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Failures in a row and when they began to count.

    Attributes
    ----------
    failures : int
        So many in a row open the circuit.
    open_s : float
        So long it stays open, in seconds.

    Examples
    --------
    >>> breaker = Breaker(failures=2, open_s=10.0)
    >>> breaker.failed(0.0); breaker.failed(1.0); breaker.left(4.0)
    7.0
    >>> breaker.left(11.0)
    0.0
    >>> breaker.worked(); breaker.left(11.0)
    0.0
    """

    failures: int = 5
    open_s: float = 5.0
    _count: int = 0
    _failed_at: float = float("-inf")

    def left(self, now: float) -> float:
        """Return the seconds until a call may try, 0 if one may."""
        return max(0.0, self._failed_at + self.open_s - now) if self._count >= self.failures else 0.0

    def failed(self, now: float) -> None:
        """Count a failure."""
        self._count, self._failed_at = self._count + 1, now

    def worked(self) -> None:
        """Forget failures."""
        self._count = 0
