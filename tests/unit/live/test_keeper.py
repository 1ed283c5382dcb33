"""What a loop delivers is committed beside it: a cut is one moment, whatever comes while it is written."""

from __future__ import annotations

import asyncio
import resource
from types import SimpleNamespace

import numpy as np
import pytest

from qmtl.engine.plan import Plan
from qmtl.errors import WriteError
from qmtl.live.job import Job, Step
from qmtl.live.keeper import Keeper
from qmtl.live.machine import Machine
from qmtl.live.pace import Pace
from qmtl.live.rows import Rows
from qmtl.live.run_store import RunStore
from qmtl.sdk import Strategy, StreamInput


class Stage:
    """A machine that has nothing to confirm, a store, and a keeper of both."""

    def __init__(self, folder):
        price = StreamInput(tags=["stage"], interval="1m", name="price")

        class Staged(Strategy):
            def setup(self):
                self.add_nodes([price])

        dag = Staged().build().dag
        (self.node,) = (stream.node_id for stream in dag.streams)
        plan = Plan.of(dag, {self.node: ("close",)})
        self.machine = Machine(Job(plan, {self.node: "topic"}, frozenset({self.node})))
        self.store, self.now = RunStore(folder / "state.db"), 100.0
        parts = SimpleNamespace(papers={}, store=self.store, now=lambda: self.now)
        self.keeper = Keeper(parts, {self.node}, Pace(seconds=1.0))

    def deliver(self, *buckets):
        ts = np.array(buckets)
        rows = Rows.made(ts, {"close": ts[:, None].astype(float)})
        self.keeper.take(Step(through=buckets[-1] + 60, delivered={self.node: rows}), self.machine)

    @property
    def stored(self):
        return self.store.outputs(self.node).ts.tolist()


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.store.close()


def test_what_comes_while_a_cut_is_written_belongs_to_the_next(stage):
    async def run():
        stage.deliver(0, 60)
        stage.keeper.cut(stage.machine)
        stage.deliver(120)
        await stage.keeper.written()
        first = stage.stored
        stage.keeper.cut(stage.machine)
        await stage.keeper.written()
        return first

    assert asyncio.run(run()) == [0, 60]
    assert stage.stored == [0, 60, 120]


def test_going_back_is_to_the_last_cut(stage):
    async def run():
        stage.deliver(0)
        stage.keeper.cut(stage.machine)
        stage.deliver(60)
        await stage.keeper.written()
        return stage.keeper.through, stage.keeper.resumed({stage.node})

    assert asyncio.run(run()) == (120, stage.machine.snapshot())
    assert stage.keeper.through == 60
    assert not stage.keeper.is_due(stage.machine)


@pytest.fixture
def full_disk():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_cut_that_cannot_be_written_is_told_at_the_next_look(stage):
    async def run():
        stage.deliver(*range(0, 6_000_000, 60))
        stage.keeper.cut(stage.machine)
        await stage.keeper.close()
        with pytest.raises(WriteError):
            stage.keeper.is_due(stage.machine)

    asyncio.run(run())
    assert stage.stored == []


def test_nothing_new_is_nothing_to_commit(stage):
    stage.now += 1e6
    assert not stage.keeper.is_due(stage.machine)
    stage.deliver(0)
    assert stage.keeper.is_due(stage.machine)
