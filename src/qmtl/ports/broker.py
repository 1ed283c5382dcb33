"""Topics of the broker. Reading and writing bars is not here: this is administration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmtl.ports.dependency import Dependency


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is to be: retention in milliseconds."""

    name: str
    partitions: int
    replication: int
    retention_ms: int
    cleanup: str = "delete"


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """How a topic is; ``records`` is an upper bound of what it holds."""

    name: str
    partitions: int
    replication: int
    retention_ms: int
    records: int


class Broker(Dependency):
    """Creates, describes and deletes topics.

    Promises: creating what exists and deleting what does not are no errors; a topic is described only when it can
    be used; names that clash with another topic (case, ``.`` against ``_``) are refused with ConflictError.
    """

    role = "broker"

    @abstractmethod
    async def create(self, topics: Sequence[TopicSpec]) -> dict[str, str]:
        """Ask for topics; return the reason for each that was refused."""

    @abstractmethod
    async def keep(self, retention_ms: Mapping[str, int]) -> None:
        """Let topics keep records for at least so long; topics that keep them longer, or are not there, stay so."""

    @abstractmethod
    async def exist(self, names: Sequence[str]) -> set[str]:
        """Return those that exist and can be used."""

    @abstractmethod
    async def describe(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        """Return the topics that exist."""

    @abstractmethod
    async def delete(self, names: Sequence[str]) -> None:
        """Delete topics; they are gone when it returns."""

    @abstractmethod
    async def topics(self) -> list[str]:
        """Return the names of all topics that are not internal."""

    @abstractmethod
    async def load(self) -> float:
        """Return how busy the broker is, from 0 to 1."""
