"""Durable submissions of 30 KB against bare writes of the same bytes: real Redis, real PostgreSQL, one Gateway."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import psycopg
from redis.asyncio import Redis as RedisClient

from harness.commands import main
from harness.result import Row, Target, number
from harness.services import Postgres, Program, Redis, chain, folder, percentile

CLIENTS = 64
RATE = 1000
PREFIX = [str(k) for k in range(51)]


def bodies(count: int, tag: str) -> list[bytes]:
    """As many different submissions of 52 nodes."""
    asked = ({"dag_json": chain(*PREFIX, f"{tag} {k}"), "run_type": "dry-run", "meta": {}} for k in range(count))
    return [json.dumps(one).encode() for one in asked]


async def paced(send: Callable[[bytes], Awaitable[None]], work: list[bytes], rate: float | None) -> tuple[float, float]:
    """Send everything, at a rate or as fast as clients can; return how many a second and the p95 in milliseconds."""
    taken: list[float] = []
    gate = asyncio.Semaphore(CLIENTS if rate is None else 10**6)
    began = time.perf_counter()

    async def one(k: int, content: bytes) -> None:
        if rate is not None:
            await asyncio.sleep(max(0.0, began + k / rate - time.perf_counter()))
        async with gate:
            start = time.perf_counter()
            await send(content)
            taken.append(time.perf_counter() - start)

    await asyncio.gather(*(one(k, content) for k, content in enumerate(work)))
    return len(work) / (time.perf_counter() - began), 1000 * percentile(taken, 0.95)


async def probed(redis: Redis, postgres: Postgres, count: int) -> tuple[float, float]:
    """One row, one commit, one push for each, over eight connections."""
    connections = [await psycopg.AsyncConnection.connect(postgres.url, autocommit=True) for _ in range(8)]
    await connections[0].execute("CREATE TABLE IF NOT EXISTS probe (key text PRIMARY KEY, content bytea)")
    free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    client = RedisClient.from_url(redis.url)
    numbers = iter(range(10**9))
    tag = time.time_ns()

    async def write(content: bytes) -> None:
        k = next(numbers)
        connection = await free.get()
        await connection.execute("INSERT INTO probe VALUES (%s, %b)", [f"{tag}-{k}", content])
        free.put_nowait(connection)
        await client.zadd("probe", {f"{tag}-{k}": k})

    try:
        return await paced(write, bodies(count, "probe"), None)
    finally:
        await client.aclose()
        for connection in connections:
            await connection.close()


async def submitted(url: str, count: int, tag: str, rate: float | None) -> tuple[float, float]:
    """Through the Gateway."""
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:

        async def send(content: bytes) -> None:
            async with session.post(f"{url}/strategies", data=content, headers=headers) as response:
                assert response.status == 202, await response.text()
                await response.read()

        return await paced(send, bodies(count, tag), rate)


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """Take turns: bare writes, the Gateway as fast as it can, the Gateway at 1,000 a second."""
    count = 200 if short else 3000
    with folder() as data, Redis() as redis, Postgres() as postgres:
        stores = ["--redis-dsn", redis.url, "--postgres-dsn", postgres.url, "--data", str(data)]
        command = ["gateway", "--port", "{port}", *stores, "--role", "api", "--no-auth", "--dagm-target", "127.0.0.1:9"]
        with Program("gateway", command) as gateway:
            runs: dict[str, list[tuple[float, float]]] = {
                "bare writes": [],
                "Gateway": [],
                "Gateway, 1,000 a second": [],
            }
            for k in range(repeats):
                runs["bare writes"].append(asyncio.run(probed(redis, postgres, count)))
                runs["Gateway"].append(asyncio.run(submitted(gateway.url, count, f"fast {k}", None)))
                paced_run = asyncio.run(submitted(gateway.url, count, f"paced {k}", RATE))
                runs["Gateway, 1,000 a second"].append(paced_run)
    return _row(runs, count, repeats)


def _row(runs: dict[str, list[tuple[float, float]]], count: int, repeats: int) -> Row:
    rates = {name: percentile([rate for rate, _ in taken], 0.5) for name, taken in runs.items()}
    tails = {name: percentile([tail for _, tail in taken], 0.5) for name, taken in runs.items()}
    probe = rates["bare writes"]
    return Row(
        "submit",
        "durable submissions of 30 KB",
        {"submissions": count, "clients": CLIENTS, "runs": repeats},
        ("way", "a second", "p95 ms", "of bare writes"),
        [(name, number(rates[name]), number(tails[name]), number(rates[name] / probe)) for name in runs],
        [
            Target("1,000 a second / submissions a second", 1000 / rates["Gateway"], 1.0, "x"),
            Target("p95 at 1,000 a second", tails["Gateway, 1,000 a second"], 150, "ms"),
        ],
        detail={"a second": rates, "p95 ms": tails},
        notes=("the clients, the Gateway, Redis and PostgreSQL share the cores; nothing maps meanwhile",),
    )


if __name__ == "__main__":
    sys.exit(main({"submit": measure}))
