"""Whoever dies when: every runner gets each record once, in order, equal to the back-test to the bit."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest

from qmtl.engine.batch import Output, run_batch
from qmtl.engine.plan import Plan
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.graph.node import Node, StreamInput
from qmtl.indicators import sma
from qmtl.live.machine import Job
from qmtl.live.rows import Rows
from qmtl.transforms import resample
from stack.schedules import MINUTE, World

BARS = 90
#: In each of the pieces, so that none of them takes long on a busy machine.
SCHEDULES = 100
#: Those that were bad while this was built; docs/concepts/simulation.md says what each of them taught.
_BAD = "42 55 231 267 288 426 438 957 1944 2199 2256 2616 3054 3171 3663 3879 4068 4074"
SEEDS = [int(seed) for seed in os.environ.get("QMTL_SEED", _BAD).split()]
FIELDS = ("open", "high", "low", "close", "volume")


def spread(view):
    """Emits at some bars only."""
    ours, other = view.array("ours", "value"), view.array("other", "close")
    return float(ours[-1] - other[0]) if ours[-1] * 8 % 3 < 2 else None


def mean_of_two(view):
    return float(view.array("x", "value").sum() / 2)


def above(view):
    return float(view.array("fast", "value")[-1] > view.array("trend", "value")[-1])


def _function(compute, period, name, interval="1m", **inputs):
    return Node(
        input=inputs,
        compute_fn=compute,
        period=period,
        name=name,
        interval=interval,
        version="1",
        schema={"value": "float64"},
    )


class Case:
    """Three strategies with a shared prefix, their bars, and what a back-test says of them."""

    def __init__(self) -> None:
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        other = StreamInput(tags=["ETH"], interval="1m", name="other")
        fast, slow = sma(price.close, 3, name="fast"), sma(price.close, 5, name="slow")
        trend = sma(resample(price, "5m", name="five").close, 2, name="trend")
        sparse = _function(spread, 2, "sparse", ours=fast, other=other)
        smooth = _function(mean_of_two, 2, "smooth", x=sparse)
        signal = _function(above, 1, "signal", fast=fast, trend=trend)
        self.bars = {price.node_id: _bars(1, 0.1), other.node_id: _bars(2, 0.2)}
        strategies = {"A": [fast, fast > slow], "B": [signal, price], "C": [smooth, fast]}
        self.jobs, self.labels = {}, {}
        for name, nodes in strategies.items():
            dag = Dag.of(nodes)
            plan = Plan.of(dag, dict.fromkeys((one.node_id for one in dag.streams), FIELDS))
            private = {nodes[-1].node_id} if name == "A" else set()
            topics = {node: node[:8] for node in plan.nodes if node not in private}
            self.jobs[name] = Job(plan, topics, frozenset(node.node_id for node in nodes))
            self.labels |= {node: one.node.label for node, one in plan.nodes.items()}
        self.expected = self.repaired(self.bars)

    def repaired(self, bars):
        """Return what a back-test over these bars says."""
        expected = {}
        for job in self.jobs.values():
            known = {k: rows for k, rows in bars.items() if k in job.plan.nodes and len(rows)}
            frames = {k: Frame(one.ts, dict(zip(FIELDS, one.values, strict=True)), MINUTE) for k, one in known.items()}
            expected |= run_batch(job.plan, frames) if known else {}
        return expected


def _bars(seed, gaps) -> Rows:
    generator = np.random.default_rng(seed)
    ts = 60_000_000 + MINUTE * np.flatnonzero(generator.random(BARS) >= gaps)
    return Rows(ts, FIELDS, 100 + generator.standard_normal((len(FIELDS), len(ts), 1)).cumsum(axis=1))


CASE = Case()


def run(seed: int) -> World:
    """Play one schedule; ``wrong(run(SEED))`` tells what is wrong with it."""
    world = World(seed, CASE.jobs, CASE.bars, fences=seed % 2 == 0)
    for name in "ABC"[: world.random.randrange(1, 4)] + world.random.choice("ABC"):
        runner = world.start(name)
        if world.random.random() < 0.2:  # it has no feeds but those that nobody else has
            sighted = (one.machine.job.plan.nodes for one in world.runners.values() if one is not runner)
            runner.blind = frozenset(CASE.bars) & frozenset().union(*sighted)
        for _ in range(world.random.randrange(80)):
            world.tick()
    if seed % 3 == 0:
        world.mending = 0.05
    for _ in range(world.random.choice((0, 1, 2, 3, 4, 8))):
        world.fault()
        for _ in range(world.random.choice((5, 50, 200))):
            world.tick()
    world.settle()
    return world


def wrong(world: World) -> list[str]:
    """Return what is not as it should be."""
    found, expected = [], CASE.expected
    if world.counted["mend"]:
        expected = CASE.repaired({node: world.log.truth(node[:8]) for node in CASE.bars})
    for runner in world.runners.values():
        found += [f"{runner.name}: {reason}" for reason in runner.machine.quarantined.values()]
        for node in runner.machine.job.wanted:
            parts = runner.delivered.get(node, [])
            rows = Rows.joined(parts) if parts else Rows.none()
            doubled = len(rows) - len({*rows.ts.tolist()})
            for _, _, repair in (one for one in runner.revised if one[0] == node):
                rows = rows.repaired(repair)
            numbers = [(one[0], one[1]) for one in runner.revised]
            if doubled or len(numbers) != len({*numbers}):
                found.append(f"{runner.name}: {CASE.labels[node]} has {doubled} doubled")
            if told := _difference(rows, expected[node]):
                found.append(f"{runner.name}: {CASE.labels[node]} {told}")
    return found


def _difference(rows: Rows, known: Output) -> str:
    if not np.array_equal(rows.ts, known.ts):
        missing, more = sorted({*known.ts.tolist()} - {*rows.ts.tolist()}), len(rows) - len({*rows.ts.tolist()})
        return f"got {len(rows)} of {len(known.ts)}; missing {missing[:3]}, doubled {more}"
    same = rows.values.tobytes() == np.stack([*known.columns.values()]).tobytes()
    return "" if same else "has other values"


@pytest.mark.parametrize("block", range(20))
def test_every_bucket_once(block, record_property):
    counted = Counter()
    for seed in range(block * SCHEDULES, (block + 1) * SCHEDULES):
        world = run(seed)
        counted += world.counted
        found = wrong(world)
        assert not found, (
            f"{found}; alone: QMTL_SEED={seed} uv run pytest -n 0 tests/property/test_schedules.py -k alone"
        )
    record_property("told", f"{SCHEDULES} schedules: {dict(counted)}")


@pytest.mark.parametrize("seed", SEEDS)
def test_alone(seed):
    assert not wrong(run(seed))


def test_shared_nodes_are_computed_once_where_nothing_fails():
    for seed in range(40):
        world = World(seed, CASE.jobs, CASE.bars, fences=True, timeout=10**6)
        for name in "ABCA":
            world.start(name)
            for _ in range(60):
                world.tick()
        world.settle()
        assert not wrong(world), seed
        for node in CASE.jobs["A"].topics.keys() | CASE.jobs["B"].topics.keys():
            made = sum(one.machine.computed.get(node, 0) for one in world.runners.values())
            assert made == len(CASE.expected[node].ts), (seed, CASE.labels[node])
