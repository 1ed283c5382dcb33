"""What is said of the nodes of a run, from what its loop publishes."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from qmtl.engine.plan import Plan
from qmtl.errors import RunError
from qmtl.indicators import sma
from qmtl.live.changes import Changes
from qmtl.live.facts import facts
from qmtl.live.job import Job
from qmtl.live.line import Trouble
from qmtl.live.machine import Machine
from qmtl.live.progress import Progress
from qmtl.live.rows import Rows
from qmtl.live.watch import Watch
from qmtl.ports.record_log import Entry
from qmtl.sdk import Node, Strategy, StreamInput
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.sessions import NodeProgress


class Silent:
    """A feed that says how long it has been silent."""

    problem, seconds = "", 0.0

    def silent_s(self):
        return self.seconds


class Stage:
    """A machine without a shell: what a loop is for those who look at it."""

    def __init__(self):
        price = StreamInput(tags=["stage"], interval="1m", name="price")
        twice = Node(
            input={"price": price},
            compute_fn=lambda view: {"value": 2 * view.latest("price")["close"]},
            name="twice",
            schema={"value": "float64"},
        )

        class Staged(Strategy):
            def setup(self):
                self.add_nodes([price, sma(price.close, 3, name="mean"), twice, sma(twice["value"], 2, name="after")])

        dag = Staged().build().dag
        plan = Plan.of(dag, {stream.node_id: ("close",) for stream in dag.streams})
        self.ids = {name: node for node, name in dag.labels().items()}
        self.machine = Machine(Job(plan, {node: node for node in plan.nodes}, frozenset(plan.nodes)))
        self.positions = dict.fromkeys(plan.nodes, 0)
        self.parts = SimpleNamespace(job=self.machine.job, feeds={self.ids["price"]: Silent()}, now=lambda: self.now)
        self.trouble, self.busy_since, self.now = Trouble(), None, 100.0
        self.feeding, self.through, self.until, self.late = {self.ids["price"]}, None, None, 0
        self.stopped = threading.Event()
        self.stop = self.stopped.set
        self.upstream = {node: plan.streams(node) for node in plan.nodes}
        self.progress = Progress(self, {"s-1": [*plan.nodes]}, dag.labels(), clock=lambda: 1_000.0)

    @property
    def facts(self):
        return facts(self.machine, self.upstream)

    def feed(self, *closes, begin=0):
        rows = Rows.made(begin + 60 * np.arange(len(closes)), {"close": np.array(closes, float)[:, None]})
        self.machine.feed(self.ids["price"], rows, begin + 60 * len(closes))
        self.echo()
        self.machine.step()
        self.echo()

    def produce(self):
        """Get all roles, and read the fences back."""
        self.machine.assign(dict.fromkeys(self.positions, 1))
        self.echo()
        return self

    def echo(self):
        """Append what the machine emits to its topics, and let it read that; then it computes what is complete."""
        for topic, batch in self.machine.outbox:
            since, self.positions[topic] = self.positions[topic], self.positions[topic] + 1
            self.machine.take({topic: [Entry(self.positions[topic], batch)]}, {topic: since})
        self.machine.outbox.clear()

    def state(self, name):
        one = self.progress.nodes()[self.ids[name]]
        return one.state, one.reason


@pytest.fixture
def stage():
    return Stage().produce()


def test_nodes_wait_warm_up_and_are_ready(stage):
    assert stage.state("mean") == ("waiting", "no bar of price yet")
    stage.feed(1, 2)
    assert stage.state("price") == ("ready", "")
    assert stage.state("mean") == ("warming", "2 of 3 bars")
    assert stage.progress.ready(stage.progress.nodes()) == []
    stage.feed(3, begin=120)
    assert stage.state("mean") == ("ready", "")
    assert stage.progress.ready(stage.progress.nodes()) == ["s-1"]


def test_the_time_to_the_end_of_a_warm_up_is_told_from_its_rate(stage):
    stage.feed(1)
    assert stage.progress.nodes()[stage.ids["mean"]].eta_s is None
    stage.now = 110.0
    stage.feed(2, begin=60)
    assert stage.progress.nodes()[stage.ids["mean"]].eta_s == 10.0


def test_a_silent_feed_stalls_what_depends_on_it(stage):
    stage.parts.feeds[stage.ids["price"]].seconds = 200.0
    assert stage.state("price") == ("stalled", "no bar for 200 s")
    assert stage.state("after") == ("stalled", "waits for twice, which is stalled")


def test_a_feed_says_what_is_wrong_with_it(stage):
    stage.parts.feeds[stage.ids["price"]].problem = "kafka does not answer"
    assert stage.state("price") == ("stalled", "kafka does not answer")


def test_a_fault_stops_what_depends_on_it_and_nothing_else(stage):
    stage.feed(1, 2, 3)
    stage.machine.quarantined[stage.ids["twice"]] = "QM-COMPUTE: it raised"
    assert stage.state("twice") == ("quarantined", "QM-COMPUTE: it raised")
    assert stage.state("after") == ("stalled", "waits for twice, which is quarantined")
    assert stage.state("mean") == ("ready", "")
    assert stage.progress.faults == {"twice": "QM-COMPUTE: it raised"}


def test_a_log_that_does_not_answer_stalls_everything(stage):
    stage.trouble.told("the log is locked", 1.0)
    assert {one.reason for one in stage.progress.nodes().values()} == {"the log is locked"}


def test_status_says_how_far_and_how_late(stage):
    stage.feed(1, 2, 3)
    stage.through = 180
    told = stage.progress.status()
    assert (told["through"], told["until"]) == ("1970-01-01T00:03:00Z", None)
    mean = told["nodes"]["mean"]
    assert (mean["last"], mean["lag_s"], mean["computed"], mean["read"]) == ("1970-01-01T00:02:00Z", 820.0, 1, 0)
    assert stage.progress.user_nodes == ["twice"]


# -------------------------------------------------------------------------------- the watch


def test_metrics_follow_what_the_machine_has_done(stage):
    metrics = Metrics()
    watch = Watch(stage.progress, metrics, clock=lambda: 1_000.0)
    stage.feed(1, 2, 3)
    watch.look()
    watch.look()
    text = metrics.text().decode()
    assert f'node_processed_total{{node="{stage.ids["price"]}"}} 3.0' in text
    assert f'node_lag_seconds{{node="{stage.ids["mean"]}"}} 820.0' in text
    resident = next(line for line in text.splitlines() if line.startswith("nodecache_resident_bytes"))
    assert float(resident.split()[1]) > 0


def test_a_violation_is_counted_once(stage):
    metrics = Metrics()
    watch = Watch(stage.progress, metrics)
    stage.machine.quarantined[stage.ids["twice"]] = "QM-DETERMINISM: determinism violation: node 'twice' gave …"
    watch.look()
    watch.look()
    assert "determinism_violation_total 1.0" in metrics.text().decode()


def test_a_process_that_takes_too_much_memory_ends_in_order(stage):
    taken = [400 * 2**20]
    watch = Watch(stage.progress, Metrics(), 500.0, resident=lambda: taken[0])
    watch.check_memory()
    assert watch.failure is None
    taken[0] = 600 * 2**20
    watch.check_memory()
    assert isinstance(watch.failure, RunError)
    assert "takes 600 MiB, more than its limit of 500 MiB" in watch.failure.message
    assert "'twice'" in watch.failure.message
    assert stage.stopped.is_set()


# ------------------------------------------------------------------------------- the changes


def names(events):
    return [event.name for event in events]


def test_a_hand_over_is_done_with_the_first_bucket_behind_that_of_the_dead():
    changes = Changes()
    assert names(changes.seen({"n": NodeProgress("ready", 60)}, 1.0)) == []
    assert names(changes.seen({"n": NodeProgress("ready", 60, epoch=7)}, 2.0)) == ["role taken"]
    (done,) = changes.seen({"n": NodeProgress("ready", 120, epoch=7)}, 2.5)
    assert (done.name, done.bucket, done.facts) == ("hand-over done", 120, {"epoch": 7, "seconds": 0.5})
    assert names(changes.seen({"n": NodeProgress("ready", 180)}, 3.0)) == ["role lost"]


def test_a_node_that_stalls_and_goes_on_is_told_both_times():
    changes = Changes()
    stalled = changes.seen({"n": NodeProgress("stalled", 60, reason="no bar for 9 s")}, 1.0)
    assert [(event.name, event.is_bad, event.facts) for event in stalled] == [
        ("node stalled", True, {"reason": "no bar for 9 s"})
    ]
    assert changes.seen({"n": NodeProgress("stalled", 60, reason="no bar for 10 s")}, 2.0) == []
    assert names(changes.seen({"n": NodeProgress("ready", 120)}, 3.0)) == ["node goes on"]
