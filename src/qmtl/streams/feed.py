"""What a feed promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from qmtl.frame import Frame


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a feed has now.

    Attributes
    ----------
    bars : Frame or None
        Sealed bars, later than those before.
    through : int or None
        Every bar that ends at or before it has come, seconds UTC; None while nothing is known.
    wait_s : float
        Nothing new comes before so many seconds have passed.
    late : Frame or None
        Bars of buckets that are sealed already: kept for audit, never mixed in.
    """

    bars: Frame | None = None
    through: int | None = None
    wait_s: float = 0.0
    late: Frame | None = None


class Feed(ABC):
    """Gives the bars of one stream, sealed and in order.

    ``end`` is where a recorded feed ends, seconds UTC; None for one that goes on.
    """

    end: int | None = None

    @abstractmethod
    def arrived(self, after: int, limit: int) -> Arrived:
        """Return at most ``limit`` bars of later buckets than ``after``; asked again with the same it says the same."""
