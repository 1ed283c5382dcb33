"""Strategies in several processes share what they have in common: computed once, the same bits as back-tests."""

from __future__ import annotations

import pytest

from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from stack.runners import DryRun

pytestmark = pytest.mark.timeout(300)

STRATEGIES = """
from qmtl.indicators import ema, sma
from qmtl.sdk import Node, Strategy, StreamInput
from qmtl.sdk.trade import target_position, target_weight


def spread(view):
    bar = view.latest("price")
    return {"spread": bar["high"] - bar["low"]}


class A(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        mean = sma(price.close, 50, name="mean")
        fast = sma(price.close, 10, name="fast")
        self.add_nodes([price, mean, fast, target_position(fast > mean, price=price, size=1.0, name="position")])

    def define_execution(self):
        self.set_target("position")


class B(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        mean = sma(price.close, 50, name="mean")
        trend = ema(price.close, 20, name="trend")
        spreads = Node(input={"price": price}, compute_fn=spread, name="spread", schema={"spread": "float64"})
        weight = target_weight(trend > mean, price=price, weight=0.5, name="weight")
        self.add_nodes([price, mean, trend, spreads, weight])

    def define_execution(self):
        self.set_target("weight")
"""


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "strategies.py"
    made.write_text(STRATEGIES)
    return made


@pytest.fixture
def bars(real_data):
    return real_data("BTC-PERP-1m.parquet")


def equal_to_backtest(file, name, bars, out):
    expected = Runner.backtest(load_strategy(f"{file}:{name}"), data={"price": bars})
    found = compare(expected, Result.load(out))
    return found.equal or found.first_difference


def test_two_processes_share_a_node_and_equal_their_backtests(world, file, bars, tmp_path):
    runs = {name: DryRun(world, f"{file}:{name}", {"price": bars}, tmp_path / name, "--speed=max", "--until-end")
            for name in "AB"}
    for run in runs.values():
        run.start()
    told = {name: run.finished() for name, run in runs.items()}
    for name in runs:
        assert equal_to_backtest(file, name, bars, tmp_path / name) is True
    total = 45_031
    for node in ("price", "mean"):
        counts = [told[name]["bars"][node] for name in runs]
        computed = [one["computed"] for one in counts]
        assert sum(computed) == total - (49 if node == "mean" else 0), counts
