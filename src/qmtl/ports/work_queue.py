"""Strategies that wait for a worker, first in, first out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from qmtl.ports.dependency import Dependency


class WorkQueue(Dependency):
    """A queue with leases.

    Promises: an item that was pushed and not done is given out again when its lease is over; pushing it again
    while it waits or is leased changes nothing; items go out by their place (``seq``). A queue that lost its memory
    says so once, by :meth:`is_fresh`.
    """

    role = "queue"

    @abstractmethod
    async def push(self, items: Sequence[tuple[int, str]]) -> int:
        """Add (seq, id), durable when it returns; return how many were not there."""

    @abstractmethod
    async def claim(self, count: int, lease_s: float) -> list[str]:
        """Take up to ``count`` items; they come back after ``lease_s`` seconds unless done."""

    @abstractmethod
    async def done(self, ids: Sequence[str]) -> None:
        """Forget items that were claimed."""

    @abstractmethod
    async def depth(self) -> int:
        """Return how many items wait or are leased."""

    @abstractmethod
    async def is_fresh(self) -> bool:
        """Whether the queue is new or lost its memory: it has to be filled from the truth, then :meth:`settle`."""

    @abstractmethod
    async def settle(self) -> None:
        """Say that the queue was filled."""
