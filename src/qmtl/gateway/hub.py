"""Fans control events out to listeners: read once from the bus, encoded once, bounded for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec

from qmtl.errors import QmtlError
from qmtl.ports.event_bus import EventBus
from qmtl.telemetry.logs import logger
from qmtl.wire.events import Event

#: A listener that is so many events behind is told and closed.
_BOUND = 10_000
_READ = 1000
_WAIT_S = 1.0
_PAUSE_S = 0.5
#: So many events are sent in one turn of the loop, at most.
_TURN = 500

Order = tuple[int, ...]

_log = logger("gateway")


class LaggedError(Exception):
    """A listener was too slow; it may come back and resume."""


class Listener:
    """Events of one subscription, encoded."""

    def __init__(self, subject: str | None) -> None:
        self._subject = subject
        self._events: deque[tuple[Order, bytes]] = deque()
        self._arrived = asyncio.Event()
        self._lagged = False

    def offer(self, order: Order, event: Event, encoded: bytes) -> None:
        """Keep an event if it is asked for; never blocks."""
        if self._lagged or not _concerns(event, self._subject):
            return
        if len(self._events) >= _BOUND:
            self._lagged = True
            self._events.clear()
        else:
            self._events.append((order, encoded))
        self._arrived.set()

    async def next(self) -> list[tuple[Order, bytes]]:
        """Wait for events and return what is there; LaggedError if some were missed."""
        await self._arrived.wait()
        if self._lagged:
            raise LaggedError
        taken = [self._events.popleft() for _ in range(min(_TURN, len(self._events)))]
        if not self._events:
            self._arrived.clear()
        return taken


class Hub:
    """One reader of the bus, its listeners, and those who wait for a single event."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._listeners: set[Listener] = set()
        self._expected: dict[tuple[str, str], asyncio.Future[Event]] = {}
        #: Set as soon as every later event is seen.
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; while the bus is down, listeners wait."""
        position: str | None = None
        while True:
            try:
                position = await self._bus.last() if position is None else position
                self.ready.set()
                found = await self._bus.read(position, _READ, _WAIT_S)
            except QmtlError as error:
                _log.warning("hub waits for the bus", why=error.message)
                await asyncio.sleep(_PAUSE_S)
                continue
            for position, event in found:
                expected = self._expected.get((event.subject, event.type))
                if expected is not None and not expected.done():
                    expected.set_result(event)
                if self._listeners:
                    encoded = msgspec.json.encode(event)
                    for listener in self._listeners:
                        listener.offer(_order(position), event, encoded)

    def __len__(self) -> int:
        return len(self._listeners)

    @contextmanager
    def expecting(self, subject: str, kind: str) -> Iterator[asyncio.Future[Event]]:
        """Give a future of the next event of a kind about something; it is there before the event can be."""
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._expected[subject, kind] = future
        try:
            yield future
        finally:
            del self._expected[subject, kind]
            future.cancel()

    @property
    def expectations(self) -> int:
        """How many wait for a single event."""
        return len(self._expected)

    async def listen(self, subject: str | None, after: str | None) -> AsyncIterator[list[bytes]]:
        """Yield events, encoded: those that the bus still has behind the event id ``after``, then new ones."""
        listener = Listener(subject)
        self._listeners.add(listener)
        try:
            last: Order = ()
            async for position, event in self._replay(after):
                last = _order(position)
                if _concerns(event, subject):
                    yield [msgspec.json.encode(event)]
            while True:
                events = await listener.next()
                yield [encoded for order, encoded in events if order > last]  # not what was read from the past
        finally:
            self._listeners.discard(listener)

    async def _replay(self, after: str | None) -> AsyncIterator[tuple[str, Event]]:
        position = await self._bus.position_of(after) if after else None
        while position is not None:
            found = await self._bus.read(position, _READ, 0.0)
            if not found:
                return
            for position, event in found:
                yield position, event


def _concerns(event: Event, subject: str | None) -> bool:
    """Whether a listener of a subject, or of all, is told; events without a subject concern everybody."""
    return subject is None or event.subject in {subject, ""}


def _order(position: str) -> Order:
    """Return what positions of a bus are ordered by."""
    return tuple(map(int, position.split("-")))
