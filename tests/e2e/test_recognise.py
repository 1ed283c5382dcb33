"""What the world has already is recognised: strategies of several processes share what they have in common."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from qmtl.report.compare import compare
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy

pytestmark = pytest.mark.timeout(300)

STRATEGIES = """
from qmtl.indicators import ema, sma
from qmtl.sdk import Strategy, StreamInput
from qmtl.sdk.trade import target_position


class Cross(Strategy):
    period = 50

    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        fast, slow = sma(price.close, 20, name="fast"), sma(price.close, self.period, name="slow")
        self.add_nodes([price, fast, slow, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self):
        self.set_target("position")


class Slower(Cross):
    period = 60


class Trend(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        fast, slow = ema(price.close, 10, name="fast"), sma(price.close, 50, name="slow")
        self.add_nodes([price, fast, slow, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self):
        self.set_target("position")
"""


@pytest.fixture
def submit(tmp_path, world):
    file = tmp_path / "strategies.py"
    file.write_text(STRATEGIES)

    def run(name, *more):
        return world.run("submit", f"{file}:{name}", *more)

    return run


def counts(answer):
    return answer["new"], answer["reused"]


def test_common_nodes_are_one(world, submit):
    cross = submit("Cross", "--mode", "dryrun")
    trend = submit("Trend", "--mode", "dryrun")
    assert (counts(cross), counts(trend)) == ((5, 0), (3, 2))
    common = cross["queue_map"].keys() & trend["queue_map"].keys()
    assert len(common) == 2
    assert {cross["queue_map"][one] for one in common} == {trend["queue_map"][one] for one in common}

    nodes = world.run("nodes")["nodes"]
    queues = world.run("queues")["queues"]
    assert len(nodes) == len({one["node_id"] for one in nodes}) == 8
    assert len(queues) == len({one["topic"] for one in queues}) == 8
    assert {one["node_id"]: sorted(one["strategies"]) for one in nodes if one["node_id"] in common} == dict.fromkeys(
        common, sorted([cross["strategy_id"], trend["strategy_id"]])
    )
    assert {one["producer"] for one in queues if one["node_id"] in common} == {cross["strategy_id"]}


def test_the_same_again_changes_nothing_and_a_parameter_makes_what_is_downstream_new(world, submit):
    first = submit("Cross")
    before = (world.run("nodes"), world.run("queues"))
    again = submit("Cross")
    assert (again["strategy_id"], again["queue_map"], counts(again)) == (
        first["strategy_id"],
        first["queue_map"],
        (0, 5),
    )
    assert (world.run("nodes"), world.run("queues")) == before
    slower = submit("Slower")
    assert counts(slower) == (3, 2)  # the mean, the comparison, the position
    assert len(world.run("nodes")["nodes"]) == 8


def test_after_a_restart_of_everything_the_answers_are_the_same(world, submit):
    cross, trend = submit("Cross"), submit("Trend")
    before = (world.run("nodes"), world.run("queues"), world.run("status", cross["strategy_id"]))
    world.crash()
    world.start()
    assert (world.run("nodes"), world.run("queues"), world.run("status", cross["strategy_id"])) == before
    assert submit("Trend")["strategy_id"] == trend["strategy_id"]
    assert counts(submit("Cross")) == (0, 5)


def test_submissions_at_once_make_one_node_and_one_topic(world, submit):
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(submit, ["Cross", "Trend", "Slower", "Cross"])]
    assert answers[0]["strategy_id"] == answers[3]["strategy_id"]
    nodes, queues = world.run("nodes")["nodes"], world.run("queues")["queues"]
    assert len(nodes) == len(queues) == len({one["topic"] for one in queues}) == 11
    assert sum(one["new"] for one in world.run("status")["strategies"]) == 11
    assert all(one["state"] == "ready" and one["producer"] for one in queues)


def test_a_stopped_strategy_gives_back_what_it_used(world, submit):
    cross, trend = submit("Cross"), submit("Trend")
    assert world.run("stop", cross["strategy_id"])["status"] == "stopped"
    queues = {one["topic"]: one for one in world.run("queues")["queues"]}
    used = {topic for topic, one in queues.items() if one["strategies"]}
    assert used == set(trend["queue_map"].values())
    assert {queues[topic]["producer"] for topic in used} == {trend["strategy_id"]}
    again = submit("Cross")
    assert again["strategy_id"] != cross["strategy_id"]
    assert counts(again) == (0, 5)
    causes = [one["cause"] for one in world.run("status", cross["strategy_id"])["log"]]
    assert causes == ["submitted", "pick", "mapped", "drain", "stop"]


def test_doctor_asks_the_gateway_what_it_needs(world):
    told = json.loads(world.command("doctor", "--gateway-url", world.url, "--json").stdout)
    assert told["ok"]
    assert {"strategies", "queue", "locks", "events", "dagmanager"} <= {one["check"] for one in told["checks"]}


def test_a_backtest_is_submitted_for_as_long_as_it_takes(world, tmp_path, real_data, monkeypatch):
    monkeypatch.setenv("QMTL_TOKEN", "")
    file = tmp_path / "strategies.py"
    file.write_text(STRATEGIES)
    cross = load_strategy(f"{file}:Cross")
    options = {"data": {"price": real_data("BTC-PERP-1m.parquet")}, "end_time": "2022-01-02"}
    result = Runner.backtest(cross, gateway_url=world.url, **options)
    place = result.provenance["gateway"]
    assert set(place["queue_map"]) == {node["node_id"] for node in result.graph["nodes"]}
    assert (place["new"], place["reused"]) == (5, 0)
    assert world.run("status", place["strategy_id"])["status"] == "stopped"
    assert asyncio.run(Runner.backtest_async(cross, gateway_url=world.url, **options)).provenance["gateway"]["new"] == 0
    assert compare(result, Runner.backtest(cross, **options)).equal
