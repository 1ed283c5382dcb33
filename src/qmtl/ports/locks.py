"""Locks that end by themselves, with fencing tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from qmtl.ports.dependency import Dependency


class Locks(Dependency):
    """Mutual exclusion between processes.

    Promises: at most one holder at a time; a token is greater than every earlier one of the same name, also when
    the lock's memory was lost in between (a store that keeps the greatest token it saw is safe from a holder that
    was paused and outlived its lock).
    """

    role = "locks"

    @abstractmethod
    async def acquire(self, names: Sequence[str], ttl_s: float) -> dict[str, int]:
        """Take what is free for ``ttl_s`` seconds; return the fencing token of each lock taken."""

    @abstractmethod
    async def release(self, held: Mapping[str, int]) -> None:
        """Give locks back; those that somebody else holds by now are left alone."""
