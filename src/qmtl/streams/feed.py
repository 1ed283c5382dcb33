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
        Bars, in the order in which they came, of buckets that end at or before ``through`` and were sealed with other
        values, or passed over: kept for audit, never mixed in. The last bar of a bucket is its repair. A feed tells
        each once; another feed of the same stream, as after a restart, tells those around ``after`` again.
    """

    bars: Frame | None = None
    through: int | None = None
    wait_s: float = 0.0
    late: Frame | None = None


class Feed(ABC):
    """Gives the bars of one stream, sealed and in order. It never blocks and never raises when it is asked.

    ``end`` is where a recorded feed ends, seconds UTC; None for one that goes on. ``fields`` are the names of the
    values where they are known before the first bar. ``repairs`` says that late bars are better ones, to be published
    as new revisions.
    """

    end: int | None = None
    fields: tuple[str, ...] | None = None
    repairs: bool = False

    @abstractmethod
    def arrived(self, after: int, limit: int) -> Arrived:
        """Return at most ``limit`` bars of later buckets than ``after``; asked again with the same it says the same."""

    @property
    def problem(self) -> str:
        """Why nothing comes; empty when all is well."""
        return ""

    def silent_s(self) -> float:
        """Return since how many seconds nothing has come that should have; 0 for a feed that has everything."""
        return 0.0

    def close(self) -> None:  # noqa: B027  (most feeds hold nothing)
        """Let go of what the feed holds; it is not asked again."""
