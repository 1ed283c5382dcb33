"""State of one Gateway process: its loops, its limits."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from qmtl.checkup import Checkup
from qmtl.errors import QmtlError, RefusedError
from qmtl.gateway.hub import Hub
from qmtl.gateway.ingest import Ingest, Stores
from qmtl.gateway.parts import Parts, Settings
from qmtl.gateway.worker import Worker
from qmtl.wire.auth import Principal, allowed


class Gateway:
    """State of one Gateway process."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self.parts, self.settings = parts, settings
        self.ingest = Ingest(Stores(parts.strategies, parts.queue), ttl_s=settings.ttl_s)
        self.hub = Hub(parts.bus)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerSecond(settings.rate)
        self.checkup = Checkup(parts.dependencies())
        #: Strategies that are known to run: a beat that says so again asks no store.
        self.running: dict[str, None] = {}
        #: Names of nodes by the hash of their document.
        self.names: dict[str, dict[str, str]] = {}
        self.loops: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run the loops until cancelled; one that ends with an error ends all."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.hub.run())
            for _ in range(self.settings.workers):
                group.create_task(Worker(self.parts, self.settings, self.ingest.woken).run())

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

    async def allow(self, request: Request, scope: str) -> Principal:
        """Return who sends a request, if that is allowed."""
        return await allowed(self.parts.authority, request.headers.get("authorization"), scope)

    async def throttle(self, owner: str) -> None:
        """Refuse with 429 what is above the rate of an owner."""
        if not await self._limiter.hit(self._rate, owner):
            raise RefusedError(f"more than {self.settings.rate} submissions a second", status=429, hint="slow down")


def gateway_of(request: Request) -> Gateway:
    """Return the Gateway that a request came to."""
    found: Gateway = request.app.state.gateway
    return found
