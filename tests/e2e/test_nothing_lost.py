"""Nothing that was acknowledged is lost or done twice, whatever is killed and whenever."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import aiohttp
import pytest

from stack.bursts import submit_all
from stack.documents import chain
from stack.waiting import pause, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200)]

ROUNDS = 20
#: Submissions of one burst: a second of it, or what a real broker makes topics for in a few seconds.
BURST = {"embedded": 1000, "real": 300}
#: One round may take so long to settle, in seconds.
SETTLED_S = 120.0


def victims(world):
    """What is killed: every program, and the servers that hold what was acknowledged; Redis may lose it all."""
    return [*world.programs, *(["postgres", "redis", "redis, empty"] if world.servers else [])]


async def crash(world, name, dice):
    """Kill something and bring it back a moment later."""
    if name == "redis, empty":
        await asyncio.to_thread(world.servers["redis"].restart_empty)
        return
    victim = world.programs.get(name) or world.servers[name]
    await asyncio.to_thread(victim.kill9)
    await pause(0.5 * dice.random())
    await asyncio.to_thread(victim.start)


async def faults(world, dice, count):
    struck = [dice.choice(victims(world)) for _ in range(count)]
    for name in struck:
        await pause(0.4 * dice.random())
        await crash(world, name, dice)
    return struck


def query(world, sql):
    db = world.tables
    try:
        return [tuple(row) for row in db.execute(sql).fetchall()]
    finally:
        db.close()


def settled(world):
    return not query(world, "SELECT 1 FROM strategies WHERE state IN ('queued', 'diffing', 'draining')")


async def stop_some(world, ids, dice):
    """Stop a few strategies; a stop that fails is tried again."""
    chosen = dice.sample(sorted(ids), len(ids) // 10)
    async with aiohttp.ClientSession() as session:
        for one in chosen:
            for _ in range(200):
                try:
                    async with session.delete(f"{world.url}/strategies/{one}") as response:
                        if response.status == 202:
                            break
                except aiohttp.ClientError:
                    pass
                await pause(0.1)
    return set(chosen)


def check(world, names, ids, stopped):
    """Every acknowledged submission is one strategy that was mapped once; nothing is there besides."""
    rows = dict(query(world, "SELECT strategy_id, state FROM strategies"))
    assert set(rows) == set(ids.values()), "lost, or not acknowledged"
    assert len(set(ids.values())) == len(names), "two submissions share an id"
    assert Counter(rows.values()) == Counter(["warming"] * (len(rows) - len(stopped)) + ["stopped"] * len(stopped))
    for cause in ("submitted", "mapped", "stop"):
        counted = dict(query(world, f"SELECT strategy_id, count(*) FROM events WHERE cause = '{cause}' GROUP BY 1"))
        assert set(counted.values()) <= {1}, f"{cause} twice"
        assert set(counted) >= {"submitted": set(rows), "mapped": set(rows) - stopped, "stop": stopped}[cause]


def check_graph(world, alive):
    queues, nodes = world.run("queues")["queues"], world.run("nodes")["nodes"]
    assert len({one["topic"] for one in queues}) == len(queues) == len({one["node_id"] for one in queues})
    assert {one["state"] for one in queues} == {"ready"}
    assert {one for node in nodes for one in node["strategies"]} == alive
    (shared,) = [one["strategies"] for one in queues if one["node_type"] == "StreamInput"]
    assert shared == len(alive)


@pytest.mark.parametrize("kind", ["embedded", "real"])
async def test_twenty_bursts_with_kills_at_random_moments(record_property, own_world, kind):
    world = own_world(kind)
    ids, stopped, names, struck = {}, set(), [], Counter()
    retries = 0
    for number in range(ROUNDS):
        dice = random.Random(number)
        fresh = [f"{number}-{k}" for k in range(BURST[world.kind])]
        names += fresh
        burst = submit_all(world.url, [(name, chain("a", "b", name)) for name in fresh], seed=number)
        tally, killed = await asyncio.gather(burst, faults(world, dice, 2))
        ids |= tally.ids
        retries += tally.retries
        struck.update(killed)
        stopped |= await stop_some(world, set(tally.ids.values()), dice)
        await asyncio.to_thread(wait_until, lambda: settled(world), SETTLED_S)
    check(world, names, ids, stopped)
    check_graph(world, set(ids.values()) - stopped)
    told = f"{world.kind}: {len(ids)} acknowledged, {retries} retries, 0 lost, 0 twice; killed {dict(struck)}"
    record_property("told", told)
