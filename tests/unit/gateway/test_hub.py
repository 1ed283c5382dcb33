"""Events for listeners: bounded, resumable, and one who does not read slows nobody."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from qmtl.backends.embedded.event_bus import SqliteBus
from qmtl.gateway.hub import Hub, LaggedError
from qmtl.wire.events import PROGRESS, Event, event

pytestmark = pytest.mark.anyio


def made(k, subject="s-1"):
    return event(PROGRESS, source="/test", at=1.0, subject=subject, data={"k": k}, key=f"{subject}/{k}")


@asynccontextmanager
async def running():
    bus = SqliteBus(":memory:")
    hub = Hub(bus)
    loop = asyncio.create_task(hub.run())
    await hub.ready.wait()
    try:
        yield bus, hub
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await bus.close()


async def take(listening, count):
    found = []
    async for events in listening:
        found += [msgspec.json.decode(one, type=Event).data["k"] for one in events]
        if len(found) >= count:
            return found
    return found


async def test_one_who_does_not_read_is_told_and_slows_nobody():
    async with running() as (bus, hub):
        stuck, quick = hub.listen(None, None), hub.listen(None, None)
        first = [asyncio.ensure_future(anext(one)) for one in (stuck, quick)]
        await asyncio.sleep(0)
        await bus.publish([made(-1)])
        await asyncio.gather(*first)
        for k in range(0, 12_000, 1000):
            await bus.publish([made(j) for j in range(k, k + 1000)])
            assert await take(quick, 1000) == [*range(k, k + 1000)]
        with pytest.raises(LaggedError):
            await anext(stuck)


async def test_a_listener_gets_what_it_asked_for_from_where_it_left():
    async with running() as (bus, hub):
        await bus.publish([made(k, subject=f"s-{k % 2}") for k in range(10)])
        listening = hub.listen("s-1", made(3, "s-1").id)
        assert await take(listening, 3) == [5, 7, 9]
        await bus.publish([made(11), made(12, "s-2"), made(13)])
        assert await take(listening, 2) == [11, 13]


async def test_who_expects_an_event_gets_it():
    async with running() as (bus, hub):
        with hub.expecting("s-7", PROGRESS) as expected:
            await bus.publish([made(1), made(2, "s-7")])
            assert (await expected).data == {"k": 2}
        assert hub.expectations == 0


async def test_listeners_that_left_are_forgotten():
    async with running() as (bus, hub):
        listening = hub.listen(None, None)
        waiting = asyncio.ensure_future(anext(listening))
        await asyncio.sleep(0)
        assert len(hub) == 1
        await bus.publish([made(1)])
        await waiting
        await listening.aclose()
        assert len(hub) == 0
