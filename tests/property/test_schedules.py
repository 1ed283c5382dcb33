"""Whoever dies when: every runner gets each record once, in order, equal to the back-test to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from qmtl.engine.batch import run_batch
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
        self.jobs, self.expected, self.labels = {}, {}, {}
        for name, nodes in strategies.items():
            dag = Dag.of(nodes)
            plan = Plan.of(dag, dict.fromkeys((one.node_id for one in dag.streams), FIELDS))
            private = {nodes[-1].node_id} if name == "A" else set()
            topics = {node: node[:8] for node in plan.nodes if node not in private}
            self.jobs[name] = Job(plan, topics, frozenset(node.node_id for node in nodes))
            frames = {
                k: Frame(rows.ts, dict(zip(FIELDS, rows.values, strict=True)), MINUTE)
                for k, rows in self.bars.items()
                if k in plan.nodes
            }
            self.expected |= run_batch(plan, frames)
            self.labels |= {node: one.node.label for node, one in plan.nodes.items()}
        self.begin = min(int(rows.ts[0]) for rows in self.bars.values())


def _bars(seed, gaps) -> Rows:
    generator = np.random.default_rng(seed)
    ts = 60_000_000 + MINUTE * np.flatnonzero(generator.random(BARS) >= gaps)
    return Rows(ts, FIELDS, 100 + generator.standard_normal((len(FIELDS), len(ts), 1)).cumsum(axis=1))


CASE = Case()


def run(seed: int) -> World:
    world = World(seed, CASE.jobs, CASE.bars, fences=seed % 2 == 0)
    names = ["A", "B", "C", world.random.choice("ABC")]
    faults = world.random.randrange(6)
    for name in names[: world.random.randrange(2, 5)]:
        world.start(name)
        for _ in range(world.random.randrange(80)):
            world.tick()
    for _ in range(faults):
        world.fault()
        for _ in range(world.random.randrange(200)):
            world.tick()
    world.settle()
    return world


def wrong(world: World) -> list[str]:
    found = []
    for runner in world.runners.values():
        machine = runner.machine
        found += [f"{runner.name}: {reason}" for reason in machine.quarantined.values()]
        for node in machine.job.wanted:
            known = CASE.expected[node] if node in CASE.expected else None
            parts = runner.delivered.get(node, [])
            ts = np.concatenate([part.ts for part in parts]) if parts else np.zeros(0, np.int64)
            values = np.concatenate([part.values for part in parts], axis=1) if parts else np.zeros((1, 0, 1))
            if not np.array_equal(ts, known.ts):
                missing, more = sorted({*known.ts} - {*ts}), sorted({*ts} - {*known.ts})
                found.append(
                    f"{runner.name}: {CASE.labels[node]} got {len(ts)} of {len(known.ts)}; missing {missing[:3]}, more {more[:3]}, ordered {bool((np.diff(ts) > 0).all())}"
                )
            elif values.tobytes() != np.stack([*known.columns.values()]).tobytes():
                found.append(f"{runner.name}: {CASE.labels[node]} has other values")
    return found


@pytest.mark.parametrize("block", range(4))
def test_every_bucket_once(block):
    for seed in range(block * 250, block * 250 + 250):
        found = wrong(run(seed))
        assert not found, f"seed {seed}: {found}"
