"""Submitted strategies and their event log: the truth of the Gateway."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qmtl.ports.dependency import Dependency


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client sent, checked. ``key`` makes it repeatable: equal keys are one strategy."""

    strategy_id: str
    key: str
    owner: str
    run_type: str
    dag: bytes = field(repr=False)
    dag_hash: str
    meta: dict[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The strategy that now stands for a submission; ``created`` if it is a new one; ``seq`` is its place in line."""

    strategy_id: str
    created: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Placement:
    """What the diff answered."""

    queue_map: dict[str, str]
    actions: dict[str, str]
    new: int
    reused: int
    buffering: int
    sentinel_id: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A strategy. ``detail`` says why it failed or was rejected."""

    strategy_id: str
    seq: int
    owner: str
    run_type: str
    dag_hash: str
    meta: dict[str, Any]
    state: str
    fence: int
    placement: Placement | None
    detail: str | None
    submitted_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Transition:
    """A step of a life cycle, with its cause; it happens only from ``source``, with a fence not below the last."""

    strategy_id: str
    source: str
    target: str
    cause: str
    fence: int
    at: float
    placement: Placement | None = None
    detail: str | None = None
    frees_key: bool = False


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A row of the event log."""

    seq: int
    strategy_id: str
    source: str | None
    target: str
    cause: str
    at: float


class StrategyStore(Dependency):
    """Keeps strategies, durable before it answers.

    Promises: equal keys give one strategy, also when they come at once; a transition happens once, with its row in
    the event log, or not at all; rows are never deleted.
    """

    role = "strategies"

    @abstractmethod
    async def accept(self, submissions: Sequence[Submission], ttl_s: float) -> list[Accepted]:
        """Store submissions in one transaction. A key is held until its strategy ends, or ``ttl_s`` seconds."""

    @abstractmethod
    async def get(self, strategy_ids: Sequence[str]) -> dict[str, Stored]:
        """Return the strategies that exist."""

    @abstractmethod
    async def dags(self, strategy_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the documents of the strategies that exist."""

    @abstractmethod
    async def find(
        self, *, owner: str | None = None, states: Sequence[str] = (), before: int | None = None, limit: int = 100
    ) -> list[Stored]:
        """Return strategies, newest first; ``before`` is the ``seq`` where the last page ended."""

    @abstractmethod
    async def unfinished(self, states: Sequence[str], after: int, limit: int) -> list[tuple[int, str]]:
        """Return (seq, id) of strategies in some states, in the order of their submission."""

    @abstractmethod
    async def transition(self, transitions: Sequence[Transition]) -> list[bool]:
        """Take steps in one transaction; False where the state or the fence forbade it."""

    @abstractmethod
    async def log(self, strategy_id: str, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Return the event log of a strategy."""
