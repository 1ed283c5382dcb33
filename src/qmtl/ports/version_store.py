"""Versions of strategies and their weights."""

from __future__ import annotations

from abc import ABC, abstractmethod

from qmtl.ports.graph_store import GraphStore, StoredSentinel


class VersionStore(ABC):
    """Keeps version sentinels; they are written by :meth:`GraphStore.apply` together with their nodes."""

    @abstractmethod
    async def sentinels(self) -> list[StoredSentinel]:
        """Return all versions, oldest first."""

    @abstractmethod
    async def weigh(self, version: str, weight: float) -> bool:
        """Store the weight of a version; False if it is unknown."""

    @abstractmethod
    async def drop_sentinel(self, version: str) -> bool:
        """Remove a version that no strategy uses; False if it is unknown or in use."""


class VersionedGraph(GraphStore, VersionStore):
    """Graph and versions in one place, so that both change at once."""
