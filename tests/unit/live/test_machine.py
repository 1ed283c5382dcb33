"""One machine, or two that share topics, in a world without faults but those of the nodes."""

from __future__ import annotations

import numpy as np
import pytest

from qmtl.engine.plan import Plan
from qmtl.graph.dag import Dag
from qmtl.graph.node import Node, StreamInput
from qmtl.indicators import sma
from qmtl.live.machine import Job, Machine
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from stack.schedules import MINUTE, Log

START = 60_000_000
PRICE = StreamInput(tags=["BTC"], interval="1m", name="price")
OTHER = StreamInput(tags=["ETH"], interval="1m", name="other")
FAST = sma(PRICE.close, 3, name="fast")


def bars(count, begin=0) -> Rows:
    ts = START + MINUTE * np.arange(begin, begin + count)
    return Rows(ts, ("close",), (ts % 977 / 7).reshape(1, -1, 1))


def function(compute, x=FAST, name="mine", **more):
    return Node(input={"x": x}, compute_fn=compute, period=1, name=name, version="pinned", **more)


#: What stands for another version of the code: what a pinned function returns now.
TOLD = {}


def told(_view):
    return dict(TOLD)


def tell(**values):
    TOLD.clear()
    TOLD.update(values)


def last_of(view):
    return {"value": float(view.array("x", "value")[-1])}


class Runner:
    """A machine that shares a log; it reads everything, computes everything, appends everything."""

    def __init__(self, log, nodes, *, topics=None, snapshot=None, varying=()):
        self.log, self.got = log, {}
        self.nodes = {node.node_id: node for node in Dag.of(nodes).nodes}
        plan = Plan.of(Dag.of(nodes), {k: ("close",) for k, n in self.nodes.items() if isinstance(n, StreamInput)})
        topics = {k: k for k in plan.nodes} if topics is None else topics
        self.job = Job(plan, topics, frozenset(plan.nodes), varying=frozenset(varying))
        self.machine = Machine(self.job, snapshot=snapshot)

    def turn(self, times=1):
        for _ in range(times):
            step = self.machine.step()
            self.log.append(self.machine.outbox)
            self.machine.outbox.clear()
            for node, rows in step.delivered.items():
                self.got.setdefault(node, []).append(rows)
            reads = self.machine.wants().reads
            self.machine.take(self.log.read(reads, 64), reads)
        return self

    def produce(self, epoch):
        self.machine.assign(dict.fromkeys(self.job.topics.values(), epoch))
        return self.turn(4)

    def feed(self, rows, stream=PRICE):
        self.machine.feed(stream.node_id, rows, int(rows.ts[-1]) + MINUTE)
        return self.turn(4)

    def count(self, node) -> int:
        return sum(map(len, self.got.get(node.node_id, [])))


def test_a_stand_by_goes_on_at_the_next_bucket():
    log, mine = Log(fences=False), function(last_of)
    first, second = Runner(log, [mine]).produce(1), Runner(log, [mine])
    first.feed(bars(20))
    second.turn(4).produce(2)
    second.feed(bars(20, 20))
    assert (first.turn(4).count(mine), second.count(mine)) == (38, 38)
    assert (first.machine.computed[mine.node_id], second.machine.computed[mine.node_id]) == (18, 20)
    assert not first.machine.holds  # its own topics told it


@pytest.mark.parametrize("bits", [b"\0\0\0\0\0\0\xf8\x7f", b"\1\0\0\0\0\0\xf8\x7f", b"\0\0\0\0\0\0\xf0\x3f"])
def test_other_code_under_one_version_is_named_and_contained(bits):
    value = float(np.frombuffer(bits)[0])
    log, nan = Log(fences=True), float("nan")
    one = function(told)
    reader = function(last_of, x=one, name="reader")
    tell(value=nan)
    Runner(log, [one, reader]).produce(1).feed(bars(20))
    tell(value=value)
    other = Runner(log, [one, reader]).turn(4).produce(2).turn(10).feed(bars(5, 20))
    if bits == np.float64(nan).tobytes():
        assert not other.machine.quarantined
        return
    (reason,) = other.machine.quarantined.values()
    assert (
        "determinism violation: node 'mine' gave {'value': nan} at 1971-11-26T10:42:00Z, and again {'value': " in reason
    )
    assert reason.endswith("in other bits") == (value != value)
    assert other.machine.broken == {one.node_id, reader.node_id}
    assert other.count(FAST) == 23
    third = Runner(log, [one, reader]).turn(6)
    assert third.machine.quarantined == other.machine.quarantined  # the fault is in the topic
    tell(value=nan)
    third.produce(3)
    assert not third.machine.quarantined  # another producer lifts it
    third.feed(bars(5, 25))
    assert third.count(reader) == 28


def test_other_fields_quarantine_a_node():
    log = Log(fences=True)
    one = function(told)
    tell(value=1.0)
    Runner(log, [one]).produce(1).feed(bars(20))
    tell(value=1.0, more=1.0)
    other = Runner(log, [one]).turn(4).produce(2).turn(10).feed(bars(1, 20))
    assert "determinism violation" in other.machine.quarantined[one.node_id]
    assert other.count(FAST) == 19


def test_fields_that_change_in_a_topic_quarantine_a_node():
    log, mine = Log(fences=True), function(last_of)
    Runner(log, [mine]).produce(1).feed(bars(9))
    bad = Rows.made(np.array([START + 9 * MINUTE]), {"else": np.ones((1, 1))})
    log.append([(mine.node_id, bad.batch(mine.node_id, 1, START + 10 * MINUTE))])
    reason = Runner(log, [mine]).turn(6).machine.quarantined[mine.node_id]
    assert reason.startswith("QM-SCHEMA: node 'mine' had the fields ('value',), and now ('else',)")


def failing(view):
    if view.bucket == START + 15 * MINUTE:
        raise ValueError("not today")
    return last_of(view)


def test_a_function_that_raises_stops_its_node_there_and_nothing_else():
    log, mine = Log(fences=True), function(failing)
    reader = function(last_of, x=mine, name="reader")
    nodes = [mine, reader]
    first = Runner(log, nodes).produce(1).feed(bars(40)).turn(10)
    assert first.machine.broken == {mine.node_id, reader.node_id}
    assert "not today" in first.machine.quarantined[mine.node_id]
    assert (first.count(mine), first.count(reader), first.count(FAST)) == (13, 13, 38)
    appended = sum(map(len, log.topics.values()))
    first.turn(50)
    second = Runner(log, nodes).turn(4).produce(2).turn(50)
    assert "not today" in second.machine.quarantined[mine.node_id]  # a new producer tries once
    faults = [batch for batch in log.topics[mine.node_id] if batch.fault]
    assert len(faults) == 2
    assert sum(map(len, log.topics.values())) < appended + 40
    assert second.count(FAST) == 38


def test_a_stream_that_stalls_holds_up_only_what_reads_it():
    both = Node(
        input={"x": FAST, "y": OTHER},
        compute_fn=lambda view: {"value": float(view.array("x", "value")[-1] + view.array("y", "close")[-1])},
        period=1,
        interval="1m",
        name="both",
        version="pinned",
    )
    runner = Runner(Log(fences=True), [both]).produce(1).feed(bars(30))
    assert (runner.count(FAST), runner.count(both)) == (28, 0)
    runner.feed(bars(10), OTHER)
    assert runner.count(both) == 8
    assert runner.machine.through([both.node_id]) < runner.machine.through([FAST.node_id])


def test_two_runners_may_compute_for_each_other():
    mine = function(last_of)
    back = Node(input={"x": FAST, "y": mine}, compute_fn=last_of, period=1, name="back", version="pinned")
    log = Log(fences=True)
    one, two = Runner(log, [back]), Runner(log, [back])
    one.machine.assign({PRICE.node_id: 1, FAST.node_id: 2, back.node_id: 3})
    two.machine.assign({mine.node_id: 4})
    for _ in range(4):
        one.turn()
        two.turn()
    for k in range(20):
        one.feed(bars(1, k))
        two.turn(4)
        one.turn(4)
        two.turn(4)
    assert {one.count(back), two.count(back)} == {18}


def test_a_snapshot_reads_nothing_again_and_holds_no_roles():
    log, mine = Log(fences=True), function(last_of)
    private = {PRICE.node_id: PRICE.node_id, FAST.node_id: FAST.node_id}
    first = Runner(log, [mine], topics=private).produce(1)
    for k in range(0, 2000, 100):
        first.feed(bars(100, k))
    assert first.machine.is_confirmed
    snapshot = first.machine.snapshot()
    assert len(snapshot) < 20_000
    second = Runner(log, [mine], topics=private, snapshot=snapshot)
    wants = second.machine.wants()
    assert not second.machine.holds
    assert second.machine.readers[FAST.node_id].position == len(log.topics[FAST.node_id])
    assert wants.reads[PRICE.node_id] > len(log.topics[PRICE.node_id]) / 2, "it begins near the end"
    second.turn(4).produce(2).feed(bars(100, 2000))
    assert second.count(mine) == 100


def test_a_node_whose_upstreams_change_goes_on_with_the_next_bar_also_where_bars_are_rare():
    log, rare = Log(fences=True), range(0, 100, 20)  # so its window takes an hour instead of three minutes
    first = Runner(log, [FAST], varying=[FAST.node_id]).produce(1)
    for minute in rare:
        first.feed(bars(1, minute))
    assert (first.count(FAST), first.machine.turns) == (3, [(FAST.node_id, NONE)])
    again = Runner(log, [FAST], varying=[FAST.node_id], snapshot=first.machine.snapshot()).produce(2).turn(10)
    again.feed(bars(1, 100)).turn(10)
    assert again.machine.turns == [(FAST.node_id, START + MINUTE * rare[-1])]
    assert again.count(FAST) == 1


def test_a_lost_topic_with_other_records_makes_a_machine_stale():
    log = Log(fences=False)
    one, two = Runner(log, [FAST]).produce(1).feed(bars(10)), Runner(log, [FAST]).turn(4)
    two.produce(2)
    other = Rows(bars(5, 10).ts, ("close",), bars(5, 10).values + 1)
    one.machine.feed(PRICE.node_id, bars(5, 10), START + 15 * MINUTE)  # a zombie that has read nothing since
    log.append(one.machine.outbox)
    one.machine.outbox.clear()
    two.feed(other)
    assert not one.machine.is_confirmed
    one.turn(4)
    assert one.machine.is_stale
    assert not two.machine.is_stale


def test_late_bars_are_published_once_sorted_and_not_before_their_bucket_is_sealed():
    log = Log(fences=True)
    one = Runner(log, [function(last_of)]).produce(1).feed(bars(10))
    later = Rows(bars(12).ts[[11, 4, 4, 2]], ("close",), np.array([7.0, 1.0, 9.0, 3.0]).reshape(1, -1, 1))
    early = one.machine.repair(PRICE.node_id, later)
    assert early.ts.tolist() == [START + 11 * MINUTE]
    one.turn(8)
    assert [(b.revision, Rows.of(b).values[0, :, 0].tolist()) for b in log.topics[PRICE.node_id] if b.revision] == [
        (1, [3.0, 9.0])
    ]
    one.machine.repair(PRICE.node_id, later)  # as after a hand-over
    assert not one.machine.outbox
    assert one.machine.is_settled
    assert len(Runner(log, [FAST]).machine.repair(PRICE.node_id, later)) == 4  # it does not produce the stream


def test_a_repair_has_travelled_when_all_nodes_rest_on_it_and_it_was_delivered():
    log, mine = Log(fences=True), function(last_of)
    one, two = Runner(log, [mine]).produce(1).feed(bars(10)), Runner(log, [mine]).turn(4)
    one.machine.repair(PRICE.node_id, Rows(bars(10).ts[[5]], ("close",), np.array([[[1.0]]])))
    log.append(one.machine.outbox)
    one.machine.outbox.clear()
    two.turn(4)
    assert not two.machine.is_settled  # one has not computed again
    one.turn(8)
    two.turn(4)
    assert (one.machine.is_settled, two.machine.is_settled) == (True, True)
    assert log.truth(mine.node_id).values[0, 3, 0] == pytest.approx(np.mean([*bars(10).values[0, 3:5, 0], 1.0]))
