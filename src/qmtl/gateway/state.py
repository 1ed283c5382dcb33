"""What one Gateway process holds: its parts, its loops, its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from qmtl.checkup import Checkup
from qmtl.errors import QmtlError, RefusedError
from qmtl.gateway.hub import Hub
from qmtl.gateway.ingest import Ingest, Stores
from qmtl.gateway.worker import Parts as WorkerParts
from qmtl.gateway.worker import Worker
from qmtl.ports.dag_manager import DagManager
from qmtl.ports.dependency import Dependency
from qmtl.ports.event_bus import EventBus
from qmtl.ports.locks import Locks
from qmtl.ports.strategy_store import StrategyStore
from qmtl.ports.work_queue import WorkQueue
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.auth import Authority, KeySet, Principal, bearer
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


class Gateway:
    """State of one Gateway process."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self.parts, self.settings = parts, settings
        self.ingest = Ingest(Stores(parts.strategies, parts.queue), ttl_s=settings.ttl_s)
        self.hub = Hub(parts.bus)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerSecond(settings.rate)
        self.checkup = Checkup(parts.dependencies())
        self.loops: asyncio.Task[None] | None = None

    def worker_parts(self) -> WorkerParts:
        """Return what the workers of this process work with."""
        parts = self.parts
        return WorkerParts(
            strategies=parts.strategies,
            queue=parts.queue,
            locks=parts.locks,
            bus=parts.bus,
            dag_manager=parts.dag_manager,
            metrics=parts.metrics,
            now=parts.now,
            lease_s=self.settings.lease_s,
            sentinels=self.settings.sentinels,
        )

    async def run(self) -> None:
        """Run the loops until cancelled; one that ends with an error ends all."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.hub.run())
            for _ in range(self.settings.workers):
                group.create_task(Worker(self.worker_parts(), self.ingest.woken).run())

    async def ended(self) -> None:
        """Return when the loops have ended, which they never should; raise what ended them."""
        assert self.loops is not None
        await asyncio.shield(self.loops)

    async def status(self) -> dict[str, Any]:
        """Return how the dependencies are, and those of the DAG manager if it answers."""
        own = await self.checkup.status()
        if not own["dependencies"][self.parts.dag_manager.role]["ok"]:
            return own
        try:
            behind = await self.parts.dag_manager.status()
        except QmtlError:  # it went down just now: the next look tells
            return {**own, "ok": False}
        return {"ok": own["ok"] and behind["ok"], "dependencies": own["dependencies"] | behind["dependencies"]}

    async def principal(self, authorization: str | None) -> Principal:
        """Return who asks. A key set may have to be fetched, so it is asked in a thread."""
        authority, token = self.parts.authority, bearer(authorization)
        if isinstance(authority, KeySet):
            return await asyncio.to_thread(authority.verify, token)
        return authority.verify(token)

    async def allow(self, request: Request, scope: str) -> Principal:
        """Return who sends a request, if that is allowed."""
        principal = await self.principal(request.headers.get("authorization"))
        principal.need(scope)
        return principal

    async def throttle(self, owner: str) -> None:
        """Refuse with 429 what is above the rate of an owner."""
        if not await self._limiter.hit(self._rate, owner):
            raise RefusedError(f"more than {self.settings.rate} submissions a second", status=429, hint="slow down")


def gateway_of(request: Request) -> Gateway:
    """Return the Gateway that a request came to."""
    found: Gateway = request.app.state.gateway
    return found
