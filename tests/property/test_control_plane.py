"""Whatever the order and whatever fails in between: the same world, and nothing in use is ever removed."""

from __future__ import annotations

import asyncio
import json
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qmtl.backends.embedded.blob_store import FolderBlobs
from qmtl.backends.embedded.broker import SqliteBroker
from qmtl.backends.embedded.graph_store import SqliteGraph
from qmtl.dagmanager.service import Parts, Service
from qmtl.errors import EndedError, UnavailableError
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.messages import CleanupRequest, DiffRequest, QueueQuery, Sentinel
from stack.documents import chain

DAY = 86_400.0
CHAINS = st.lists(st.sampled_from("abc"), max_size=3).map(tuple)


class FlakyBroker(SqliteBroker):
    """A broker that fails when it is told to, and lets something happen in the middle of a deletion."""

    failures = 0
    meanwhile = None

    async def create(self, topics):
        self._fail()
        return await super().create(topics)

    async def delete(self, names):
        if self.meanwhile is not None:
            interruption, self.meanwhile = self.meanwhile, None
            await interruption()
        self._fail()
        await super().delete(names)

    def _fail(self):
        if self.failures:
            self.failures -= 1
            raise UnavailableError("it crashed here", dependency="broker")


class ControlPlane:
    """A DAG manager over embedded stores in memory, with a clock that is turned by hand."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.graph, self.broker, self.now = SqliteGraph(":memory:"), FlakyBroker(":memory:"), 0.0
        self.folder = tempfile.TemporaryDirectory()
        self.blobs = FolderBlobs(self.folder.name)
        self.restart()

    def restart(self):
        """Forget everything that is not in a store."""
        parts = Parts(self.graph, self.graph, self.broker, self.blobs, Metrics(), lambda: self.now, self.told)
        self.service = Service(parts)

    async def told(self, event):
        """Nobody listens."""

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def request(self, name, *names):
        return DiffRequest(name, "dry-run", json.dumps(chain(*names)).encode(), "alice", Sentinel(f"v-{name}"))

    def queues(self):
        return self.run(self.graph.queues(QueueQuery()))

    def world(self):
        """Everything that others see, but for who came first and when."""
        nodes = self.run(self.graph.nodes())
        return (
            sorted((one.node_id, tuple(one.topics), tuple(one.strategies)) for one in nodes),
            sorted((one.topic, one.node_id, one.state, one.strategies, one.producer is None) for one in self.queues()),
            self.run(self.broker.topics()),
        )

    def close(self):
        self.run(self.graph.close())
        self.run(self.broker.close())
        self.loop.close()
        self.folder.cleanup()


@given(strategies=st.lists(CHAINS, min_size=1, max_size=5), order=st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_diffs_commute_repeat_and_interleave(strategies, order):
    requests = [(f"s-{k}", *names) for k, names in enumerate(strategies)]
    shuffled = order.sample(requests, len(requests))
    planes = [ControlPlane() for _ in range(3)]
    try:
        one_by_one, other_way, at_once = planes
        for asked in requests:
            one_by_one.run(one_by_one.service.diff(one_by_one.request(*asked)))
        maps = {}
        for asked in [*shuffled, *requests]:  # each of them twice
            maps[asked[0]] = other_way.run(other_way.service.diff(other_way.request(*asked))).queue_map

        async def together():
            return await asyncio.gather(*(at_once.service.diff(at_once.request(*asked)) for asked in requests))

        answers = at_once.run(together())
        assert one_by_one.world() == other_way.world() == at_once.world()
        assert [answer.queue_map for answer in answers] == [maps[asked[0]] for asked in requests]
        assert sum(answer.new for answer in answers) == len(at_once.run(at_once.graph.nodes()))
    finally:
        for plane in planes:
            plane.close()


class Garbage(RuleBasedStateMachine):
    """Submissions, stops, garbage collections and crashes, in any order and inside each other."""

    def __init__(self):
        super().__init__()
        self.plane = ControlPlane()
        self.alive: dict[str, dict[str, str]] = {}
        self.count = 0

    def _name(self):
        self.count += 1
        return f"s-{self.count}"

    async def _submit(self, name, names):
        answer = await self.plane.service.diff(self.plane.request(name, *names))
        self.alive[name] = answer.queue_map

    @rule(names=CHAINS)
    def submit(self, names):
        self.plane.run(self._submit(self._name(), names))

    @rule(names=CHAINS)
    def submit_while_the_broker_fails_and_again(self, names):
        name = self._name()
        self.plane.broker.failures = 5
        try:
            self.plane.run(self._submit(name, names))
        except UnavailableError:
            self.plane.broker.failures = 0
            self.plane.restart()
            self.plane.run(self._submit(name, names))
        self.plane.broker.failures = 0

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def stop(self, data):
        name = data.draw(st.sampled_from(sorted(self.alive)))
        self.plane.run(self.plane.service.release(name))
        del self.alive[name]

    @rule(days=st.sampled_from([1, 10, 40, 300]))
    def time_passes(self, days):
        self.plane.now += days * DAY

    @rule()
    def everybody_stops_and_a_year_passes(self):
        for name in self.alive:
            self.plane.run(self.plane.service.release(name))
        self.alive.clear()
        self.plane.now += 365 * DAY

    @rule()
    def collect(self):
        removals = self.plane.run(self.plane.service.cleanup(CleanupRequest()))
        assert all(one.reason for one in removals)

    @rule(names=CHAINS)
    def collect_while_somebody_submits(self, names):
        name = self._name()
        submitting = []

        async def meanwhile():
            submitting.append(asyncio.ensure_future(self._submit(name, names)))
            await asyncio.wait(submitting, timeout=0.02)  # it gets as far as it can

        async def both():
            self.plane.broker.meanwhile = meanwhile
            await self.plane.service.cleanup(CleanupRequest())
            self.plane.broker.meanwhile = None
            await asyncio.gather(*submitting)

        self.plane.run(both())

    @rule(names=CHAINS)
    def collect_and_crash_in_the_middle(self, names):
        self.plane.broker.failures = 1
        try:
            self.plane.run(self.plane.service.cleanup(CleanupRequest()))
        except UnavailableError:
            self.plane.restart()
        self.plane.broker.failures = 0
        self.plane.run(self.plane.service.resume())

    @rule()
    def a_dry_run_changes_nothing(self):
        before = self.plane.world()
        self.plane.run(self.plane.service.cleanup(CleanupRequest(dry_run=True)))
        assert self.plane.world() == before

    @rule()
    def a_diff_that_comes_after_the_end_leaves_nothing(self):
        name = self._name()
        self.plane.run(self.plane.service.release(name))
        before = self.plane.world()
        try:
            self.plane.run(self._submit(name, ("a",)))
        except EndedError:
            assert self.plane.world() == before
        else:
            raise AssertionError("it was mapped")

    @invariant()
    def what_is_used_is_there(self):
        queues = {one.topic: one for one in self.plane.queues()}
        topics = set(self.plane.run(self.plane.broker.topics()))
        nodes = {one.node_id for one in self.plane.run(self.plane.graph.nodes())}
        for name, queue_map in self.alive.items():
            for node_id, topic in queue_map.items():
                assert topic in topics, f"{name} lost {topic}"
                assert queues[topic].state == "ready"
                assert queues[topic].producer in self.alive
                assert node_id in nodes

    @invariant()
    def the_broker_has_no_topic_that_the_graph_does_not_know(self):
        assert set(self.plane.run(self.plane.broker.topics())) <= {one.topic for one in self.plane.queues()}

    def teardown(self):
        self.plane.close()


def test_a_submission_in_the_middle_of_a_collection_keeps_what_it_uses():
    garbage = Garbage()
    garbage.submit(("a",))
    garbage.everybody_stops_and_a_year_passes()
    garbage.collect_while_somebody_submits(("a",))
    garbage.what_is_used_is_there()
    garbage.the_broker_has_no_topic_that_the_graph_does_not_know()
    garbage.teardown()


Garbage.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestGarbage = Garbage.TestCase
