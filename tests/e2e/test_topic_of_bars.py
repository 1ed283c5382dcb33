"""Dry-runs on bars that somebody else writes into a topic of Kafka: the producer dies, the other reads the topic on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from qmtl.sdk.parity import certify
from qmtl.wire.client import GatewayClient
from stack.outsider import Outsider
from stack.runners import DryRun
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

STRATEGIES = Path(__file__).with_name("strategies") / "shared.py"
BARS, RATE, KILLED_AT = 4_000, 200, 800


@pytest.fixture
def outsider(world, shared_server):
    made = Outsider(shared_server("kafka"))
    yield made
    made.close()


@pytest.fixture
def dryrun(world, outsider, tmp_path):
    """Return a function that makes dry-runs on the topic, closed in the end."""
    made = []

    def get(name):
        made.append(DryRun(world, f"{STRATEGIES}:{name}", {"price": outsider.url}, tmp_path / name))
        return made[-1]

    yield get
    for one in made:
        one.close()


class Nodes:
    """How nodes are, as everybody sees it at the Gateway."""

    def __init__(self, world):
        self._client = GatewayClient(world.url, "")

    def of(self, run):
        strategy = run.log.read_text().partition("running ")[2].split()[0]
        return {one["name"]: one for one in self._client.strategy(strategy)["nodes"]}

    def last(self, run):
        """The bucket up to which all nodes of a run have come."""
        return min(one["last_bucket"] or 0 for one in self.of(run).values() if one["name"])


def terminated(run):
    run.process.terminate()
    return run.finished(code=143)


def test_a_topic_of_bars_outlives_the_runner_that_reads_it(world, outsider, dryrun, first_bars):
    path = first_bars(BARS)
    bars, runs, nodes = pd.read_parquet(path), {name: dryrun(name) for name in "AB"}, Nodes(world)
    for run in runs.values():
        run.start()
    producer = wait_until(lambda: nodes.of(runs["B"])["price"]["producer"], 20)
    outsider.write(path, RATE)
    wait_until(lambda: nodes.last(runs["B"]) > bars.ts[KILLED_AT], 60)
    runs["A"].kill9()
    last = int(bars.ts.iloc[-1])
    wait_until(lambda: nodes.last(runs["B"]) == last, 90)
    outsider.written()
    assert nodes.of(runs["B"])["price"]["producer"] != producer
    runs["A"].start()  # once more, from its last commit
    wait_until(lambda: nodes.last(runs["A"]) == last, 30)
    counts = {name: terminated(run)["bars"] for name, run in runs.items()}
    for node, before in {"price": 0, "mean": 49}.items():
        assert [sum(counts[name][node].values()) for name in "AB"] == [BARS - before] * 2, counts
        assert counts["B"][node]["computed"] > 1_000, counts
        assert counts["B"][node]["read"] > KILLED_AT - 50, counts
    for name, run in runs.items():
        expected = Runner.backtest(load_strategy(f"{STRATEGIES}:{name}"), data={"price": path})
        found = compare(expected, Result.load(run.out))
        assert found.equal, (name, found.first_difference)
        certified = certify(run.out)
        assert certified.equal, (name, certified.first_difference)
