"""Events to a hundred WebSocket clients while one of them does not read."""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp

from harness.commands import main
from harness.result import Row, Target, number
from harness.services import Postgres, Program, Redis, folder
from qmtl.backends.redis import RedisBus
from qmtl.wire.events import QUEUE_UPDATE, event

CLIENTS, RATE = 100, 600
_TURN_S = 0.1


async def publish(url: str, seconds: float) -> int:
    """Publish events at a rate, ten times a second; return how many."""
    bus = await RedisBus.open(url)
    sent, began = 0, time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        due = int((now + _TURN_S) * RATE) - sent
        await bus.publish([event(QUEUE_UPDATE, source="/bench", at=1.0, data={"k": sent + k}) for k in range(due)])
        sent += due
        await asyncio.sleep(max(0.0, began + sent / RATE - time.perf_counter()))
    await bus.close()
    return sent


async def received(session: aiohttp.ClientSession, url: str, counts: list[int], k: int) -> None:
    """Count what one client gets."""
    async with session.ws_connect(url) as socket:
        async for _ in socket:
            counts[k] += 1


async def fanned_out(redis: str, url: str, seconds: float) -> tuple[float, float]:
    """Return messages a second of the slowest client, and the share of what was sent that it has."""
    counts = [0] * CLIENTS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        stuck = await session.ws_connect(f"{url}/ws")  # nobody reads it
        clients = [asyncio.create_task(received(session, f"{url}/ws", counts, k)) for k in range(CLIENTS)]
        await asyncio.sleep(1.0)
        began = time.perf_counter()
        publishing = asyncio.create_task(publish(redis, seconds))
        sent = await publishing
        while min(counts) < sent and time.perf_counter() - began < 2 * seconds + 5:  # noqa: ASYNC110  (counts)
            await asyncio.sleep(0.05)
        took = time.perf_counter() - began
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await stuck.close()
    return min(counts) / took, min(counts) / sent


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """The slowest of a hundred clients."""
    seconds = 1.0 if short else 5.0
    with folder() as data, Redis() as redis, Postgres() as postgres:
        stores = ["--redis-dsn", redis.url, "--postgres-dsn", postgres.url, "--data", str(data)]
        command = ["gateway", "--port", "{port}", *stores, "--no-auth", "--dagm-target", "127.0.0.1:9"]
        with Program("gateway", command) as gateway:
            runs = [asyncio.run(fanned_out(redis.url, gateway.url, seconds)) for _ in range(repeats)]
    rate = sorted(rate for rate, _ in runs)[len(runs) // 2]
    share = min(share for _, share in runs)
    failures = [] if share == 1.0 else [f"the slowest client has {share:.1%} of what was sent"]
    return Row(
        "fan-out",
        "events to WebSocket clients",
        {"clients": CLIENTS, "sent a second": RATE, "runs": repeats},
        ("", "a second to each", "in all"),
        [("the slowest of 100, one more is stuck", number(rate), number(rate * CLIENTS))],
        [Target("500 a second / what the slowest got", 500 / rate, 1.0, "x")],
        failures=failures,
        detail={"a second": rate},
        notes=("publisher, Gateway, Redis and all clients share the cores; the clients are one Python process",),
    )


if __name__ == "__main__":
    sys.exit(main({"fan-out": measure}))
