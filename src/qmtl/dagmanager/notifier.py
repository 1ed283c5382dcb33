"""Tells the Gateway what happened, in order, without making anybody wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qmtl.backoff import backoff
from qmtl.errors import QmtlError, RefusedError
from qmtl.telemetry.logs import logger
from qmtl.wire.client import GatewayClient
from qmtl.wire.events import Event

#: Events that wait at most; the oldest go. Whoever needs the truth asks for it: events are news.
_BOUND = 10_000
_ATTEMPTS, _FIRST_S, _LONGEST_S = 3, 1.0, 8.0

_log = logger("dagmanager")


class Notifier:
    """Delivers events by ``POST /callbacks/dag-event``."""

    def __init__(self, client: Callable[[], GatewayClient]) -> None:
        self._client = client
        self._events: asyncio.Queue[Event] = asyncio.Queue(_BOUND)

    async def tell(self, event: Event) -> None:
        """Put an event in line; never waits."""
        if self._events.full():
            self._events.get_nowait()
            _log.warning("an event was dropped: the Gateway does not take them")
        self._events.put_nowait(event)

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._deliver(await self._events.get())

    async def _deliver(self, event: Event) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                await asyncio.to_thread(self._client().tell, event)
            except RefusedError as error:
                _log.warning("the Gateway refused an event", why=error.message)
                return
            except QmtlError as error:
                wait = backoff(attempt, _FIRST_S, _LONGEST_S)
                _log.warning("the Gateway does not take events", why=error.message, seconds=wait)
                await asyncio.sleep(wait)
            else:
                return
