"""The roster's keeper: time, terms, news and metrics."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from qmtl.dagmanager import attendance as module
from qmtl.dagmanager.attendance import Attendance, Rules
from qmtl.errors import NotAllowedError, UnavailableError
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.events import NODE_ASSIGNED, NODE_QUARANTINED, NODE_READY, SESSION_EXPIRED
from qmtl.wire.sessions import Beat, Join, Leave, NodeProgress

pytestmark = pytest.mark.anyio
TERM = 1 << 20


class Keeper:
    """An attendance whose clock is turned by hand, with what it told."""

    def __init__(self, term=0, timeout=50.0):
        self.now, self.term, self.told, self.failing = 1000.0, term, [], False
        self.asked, self.metrics = asyncio.Event(), Metrics()
        self.it = Attendance(Rules(timeout, "sqlite:///b", lambda: self.now), self.next_term, self.tell, self.metrics)

    async def next_term(self):
        self.term += 1
        return self.term

    async def tell(self, kind, subject, data):
        self.asked.set()
        if self.failing:
            raise UnavailableError("the bus is down", dependency="events")
        self.told.append((kind, subject, data))

    async def join(self, name, *topics, **more):
        return await self.it.attend(Join(name, {f"s-{name}": [*topics]}, f"{name}:1", **more))

    async def beat(self, name, **more):
        return await self.it.attend(Beat(name, **more))

    def measured(self, text):
        return text.encode() in self.metrics.text()

    @asynccontextmanager
    async def watching(self):
        running = asyncio.create_task(self.it.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def news(self, kind):
        """Wait until something of a kind was told."""
        async with asyncio.timeout(5), self.watching():
            while not (found := [one for one in self.told if one[0] == kind]):
                await self.asked.wait()
                self.asked.clear()
        return found


@pytest.fixture
def keeper():
    return Keeper()


async def test_a_standing_says_roles_until_they_were_seen(keeper):
    standing = await keeper.join("a", "x")
    assert standing.roles == {"x": TERM + 1}
    assert (standing.strategies, standing.timeout_s, standing.broker_url) == (["s-a"], 50.0, "sqlite:///b")
    assert (await keeper.beat("a", seen=standing.version)).roles is None
    assert (await keeper.beat("a", seen="another")).roles == {"x": TERM + 1}
    assert not (await keeper.it.attend(Leave("a"))).known
    assert not (await keeper.beat("a")).known


async def test_a_later_life_waits_for_holders():
    keeper = Keeper(term=1)
    assert (await keeper.join("b", "x")).roles == {}
    assert (await keeper.join("a", "x", holds={"x": TERM + 7})).roles == {"x": TERM + 7}
    assert (await keeper.join("c", "y")).roles == {}
    keeper.now += 10
    assert (await keeper.beat("c")).roles == {"y": 2 * TERM + 1}


async def test_a_manager_that_slept_lets_nobody_expire_for_it(keeper):
    await keeper.join("a", "x")
    keeper.now += 500
    assert (await keeper.beat("a")).known
    for _ in range(4):
        keeper.now += 20
        await keeper.it.standings("s-a")
    assert not (await keeper.beat("a")).known, "it listened, and heard nothing"


async def test_when_epochs_run_out_there_is_another_term(keeper, monkeypatch):
    await keeper.join("a", "x")
    monkeypatch.setattr(module, "_RESERVE", TERM)
    assert not (await keeper.beat("a")).known
    monkeypatch.setattr(module, "_RESERVE", 0)
    assert (await keeper.join("a", "x", "y", holds={"x": TERM + 1})).roles == {"x": TERM + 1}
    keeper.now += 10
    assert (await keeper.beat("a")).roles == {"x": TERM + 1, "y": 2 * TERM + 1}


async def test_a_hand_over_is_measured_from_the_last_beat_to_the_first_record(keeper):
    await keeper.join("a", "x")
    await keeper.join("b", "x")
    for _ in range(4):
        keeper.now += 13
        await keeper.beat("b")
    epoch = (await keeper.beat("b")).roles["x"]
    keeper.now += 1
    await keeper.beat("b", progress={"x": NodeProgress("ready", 60, epoch=0)})
    assert keeper.measured("handover_seconds_count 0.0"), "that was read, not computed"
    keeper.now += 1
    await keeper.beat("b", progress={"x": NodeProgress("ready", 120, epoch=epoch)})
    assert keeper.measured("handover_seconds_sum 54.0")
    await keeper.beat("b", progress={"x": NodeProgress("ready", 180, epoch=epoch)})
    assert keeper.measured("handover_seconds_count 1.0")
    assert keeper.measured("sessions 1.0")
    (told,) = await keeper.news(SESSION_EXPIRED)
    assert told[2] == {"session": "a", "host": "a:1", "topics": ["x"]}
    assert (NODE_ASSIGNED, "", {"session": "b", "host": "b:1", "topics": {"x": epoch}}) in keeper.told


async def test_a_quarantined_node_is_told_to_all_who_use_it_once(keeper):
    await keeper.join("a", "x")
    await keeper.join("b", "x", "y")
    bad = {"x": NodeProgress("quarantined", reason="QM-DETERMINISM: two answers")}
    for name in "aab":
        await keeper.beat(name, progress=bad)
    told = await keeper.news(NODE_QUARANTINED)
    assert [one[1] for one in told] == ["s-a", "s-b"]
    assert keeper.measured("determinism_violation_total 1.0")


async def test_ready_nodes_are_told_to_their_strategy_together(keeper):
    await keeper.join("a", "x", "y", "z")
    await keeper.beat("a", progress={"x": NodeProgress("ready"), "y": NodeProgress("ready"), "other": bad()})
    await keeper.beat("a", progress={"x": NodeProgress("ready", 60), "z": NodeProgress("warming", None, 1, 9)})
    assert await keeper.news(NODE_READY) == [(NODE_READY, "s-a", {"topics": ["x", "y"], "ready": 2, "of": 3})]


def bad():
    return NodeProgress("quarantined", reason="not mine")


async def test_news_that_cannot_be_told_are_dropped_and_later_ones_are_told(keeper):
    keeper.failing = True
    await keeper.join("a", "x")
    async with asyncio.timeout(5), keeper.watching():
        await keeper.asked.wait()
    keeper.failing = False
    await keeper.join("b", "y")
    ((_, _, data),) = await keeper.news(NODE_ASSIGNED)
    assert data["session"] == "b"


async def test_nobody_speaks_for_a_session_of_another_owner(keeper):
    await keeper.join("a", "x", owner="alice")
    for message in (Beat("a", owner="bob"), Leave("a"), Join("a", {}, owner="bob")):
        with pytest.raises(NotAllowedError):
            await keeper.it.attend(message)
    assert (await keeper.beat("a", owner="alice")).known


async def test_standings_are_those_of_the_latest_runner_of_a_strategy(keeper):
    assert await keeper.it.standings("s-a") == []
    await keeper.join("b", "x")
    await keeper.join("a", "x", "y")
    await keeper.it.attend(Join("again", {"s-a": ["x", "y"]}, "again:1"))
    await keeper.beat("b", progress={"x": NodeProgress("ready", 120)})
    await keeper.beat("a", progress={"x": NodeProgress("ready", 60)})
    await keeper.beat("again", progress={"x": NodeProgress("warming", 0, 1, 3)})
    x, y = await keeper.it.standings("s-a")
    assert (x.state, x.read, x.produced, x.producer, x.epoch) == ("warming", 0, 120, "b", TERM + 1)
    assert (y.state, y.producer, y.host, y.reason) == ("waiting", "a", "a:1", "")
    await keeper.it.attend(Leave("a"))
    await keeper.it.attend(Leave("again"))
    assert await keeper.it.standings("s-a") == []
