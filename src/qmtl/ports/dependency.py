"""What every backend can do: be asked how it is, and be closed."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Dependency(ABC):
    """Something outside that may be down.

    Every call raises :class:`qmtl.errors.UnavailableError` within a few seconds when the other side does not
    answer; calls are safe to repeat.
    """

    #: What the dependency is for, as ``/status`` names it.
    role: str = ""
    #: What it is: ``sqlite``, ``postgresql``, ``redis``, ``neo4j``, ``kafka``, ``folder``.
    kind: str = ""

    @abstractmethod
    async def check(self) -> str:
        """Return the version of the other side, or raise."""

    @abstractmethod
    async def close(self) -> None:
        """Give connections back. Safe to call twice."""
