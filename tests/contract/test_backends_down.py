"""A server that crashed or hangs is told within seconds, and used again as soon as it is back."""

from __future__ import annotations

import asyncio

import pytest

from qmtl.backends import connect
from qmtl.errors import UnavailableError
from stack.proxy import FaultProxy

pytestmark = pytest.mark.anyio

OPEN = {
    "redis": connect.open_queue,
    "postgres": connect.open_strategies,
    "neo4j": connect.open_graph,
    "kafka": connect.open_broker,
}
#: No call may take longer, whatever the server does, in seconds.
BOUND_S = 12.0
#: A server that is back is found again within this time, in seconds.
RECOVERY_S = 20.0


async def refused(part) -> None:
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(UnavailableError) as told:
            await part.check()
    assert told.value.dependency == part.role


async def recovered(part) -> None:
    async with asyncio.timeout(RECOVERY_S):
        while True:
            try:
                return await part.check()
            except UnavailableError:
                continue


@pytest.mark.parametrize("name", OPEN)
async def test_crash_and_hang_are_told_in_time_and_overcome(name, own_server):
    server = own_server(name)
    part = await OPEN[name](server.url)
    try:
        await recovered(part)
        server.pause()
        await refused(part)
        server.resume()
        await recovered(part)
        server.kill9()
        await refused(part)
        await asyncio.to_thread(server.start)
        await recovered(part)
    finally:
        await part.close()


async def test_a_redis_that_comes_back_empty_is_fresh(own_server):
    server = own_server("redis")
    queue = await connect.open_queue(server.url)
    try:
        await queue.push([(1, "a")])
        await queue.settle()
        await asyncio.to_thread(server.restart_empty)
        await recovered(queue)
        assert await queue.is_fresh()
    finally:
        await queue.close()


async def test_tokens_grow_though_redis_lost_its_memory(own_server):
    server = own_server("redis")
    locks = await connect.open_locks(server.url)
    try:
        before = await locks.acquire(["lock:a"], 60.0)
        await asyncio.to_thread(server.restart_empty)
        await recovered(locks)
        assert (await locks.acquire(["lock:a"], 60.0))["lock:a"] > before["lock:a"]
    finally:
        await locks.close()


@pytest.mark.parametrize("name", ["redis", "postgres"])
async def test_a_line_that_is_cut_or_goes_silent_is_told_and_replaced(name, shared_server):
    server = shared_server(name)
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        part = await OPEN[name](server.url.replace(str(server.port), str(proxy.port)))
        try:
            await recovered(part)
            proxy.reset_all()
            await recovered(part)
            proxy.passing.clear()
            await refused(part)
            proxy.passing.set()
            await recovered(part)
            await proxy.refuse()
            proxy.reset_all()
            await refused(part)
            await proxy.accept()
            await recovered(part)
        finally:
            await part.close()
