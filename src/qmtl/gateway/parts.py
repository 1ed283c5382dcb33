"""What a Gateway and its workers work with, and how they behave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from qmtl.ports.dag_manager import DagManager
from qmtl.ports.dependency import Dependency
from qmtl.ports.event_bus import EventBus
from qmtl.ports.locks import Locks
from qmtl.ports.strategy_store import StrategyStore
from qmtl.ports.work_queue import WorkQueue
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.auth import Authority
from qmtl.wire.dag import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """How a Gateway behaves.

    Attributes
    ----------
    ttl_s : float
        So long the same graph of the same owner is the same strategy, in seconds.
    map_wait_s : float
        So long an answer waits for its queue map, in seconds; under load it does not wait.
    rate : int
        Submissions a second of one owner.
    workers : int
        Loops in this process; 0 where separate processes work.
    lease_s : float
        After so many seconds a dead worker's work is taken over.
    sentinels : bool
        Whether each submission gets a version.
    """

    ttl_s: float = 7 * 86_400.0
    map_wait_s: float = 1.0
    lease_s: float = 30.0
    rate: int = 5000
    workers: int = 2
    sentinels: bool = True
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a Gateway works with; ``now`` gives seconds UTC."""

    strategies: StrategyStore
    queue: WorkQueue
    locks: Locks
    bus: EventBus
    dag_manager: DagManager
    authority: Authority
    metrics: Metrics
    now: Callable[[], float]

    def dependencies(self) -> tuple[Dependency, ...]:
        """Return everything that may be down."""
        return (self.strategies, self.queue, self.locks, self.bus, self.dag_manager)
