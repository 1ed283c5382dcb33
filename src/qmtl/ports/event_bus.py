"""Control events for whoever listens, kept for a while."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from qmtl.ports.dependency import Dependency
from qmtl.wire.events import Event


class EventBus(Dependency):
    """An ordered, bounded log of control events.

    Promises: positions grow, also after the log lost its memory; an event with an id that is still in the log is
    not written again; every reader sees the same order.
    """

    role = "events"

    @abstractmethod
    async def publish(self, events: Sequence[Event]) -> None:
        """Append events."""

    @abstractmethod
    async def read(self, after: str, limit: int, wait_s: float) -> list[tuple[str, Event]]:
        """Return (position, event) behind a position, waiting up to ``wait_s`` seconds for the first."""

    @abstractmethod
    async def last(self) -> str:
        """Return the position of the newest event; an empty log has one too."""

    @abstractmethod
    async def position_of(self, event_id: str) -> str | None:
        """Return the position of an event that is still in the log."""
