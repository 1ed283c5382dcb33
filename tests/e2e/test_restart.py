"""A run that is killed or stopped at any moment goes on from there: no order twice, none lost, the same bits."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from qmtl.live.run_record import RunRecord
from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from qmtl.wire.client import GatewayClient
from stack.observer import Observer, named_topics
from stack.runners import DryRun
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

KILLS = int(os.environ.get("QMTL_KILLS", "5"))
SEED = int(os.environ.get("QMTL_SEED", "5"))
#: A thousand bars a second, and so few that an order is seen before it is filled.
FAST, SLOW = "--speed=60000x", "--speed=600x"
STRATEGIES = Path(__file__).with_name("strategies") / "shared.py"
A, B = f"{STRATEGIES}:A", f"{STRATEGIES}:B"


@pytest.fixture
def dryrun(tmp_path):
    """Return a function that makes dry-runs, closed in the end."""
    made = []

    def get(world, address, bars, name, *more):
        made.append(DryRun(world, address, {"price": bars}, tmp_path / name, "--until-end", *more))
        return made[-1]

    yield get
    for one in made:
        one.close()


def equal(address, bars, out):
    found = compare(Runner.backtest(load_strategy(address), data={"price": bars}), Result.load(out))
    return found.equal or found.first_difference


class Journal:
    """What a run had written down when it was killed."""

    def __init__(self, out):
        record = RunRecord(out / "run" / "state.db")
        try:
            db = sqlite3.connect(out / "run" / "state.db")
            found = db.execute("SELECT DISTINCT n.name FROM names n JOIN accounts a ON n.id = a.strategy").fetchall()
            ((account,),) = found or [("",)]
            db.close()
            self.orders = {one.client_order_id: one for one in record.orders(account)}
            self.count = len(record.orders(account))
            self.fills = [*record.fills(account).tolist()]
            self.filled = {one.hex() for one in record.fills(account)["client_order_id"].tolist()}
            self.equity = record.traded(account, 1).ts.tolist()
        finally:
            record.close()

    @property
    def open(self):
        return sum(one.status == "open" for one in self.orders.values())

    def goes_on_from(self, before):
        """Whether everything that was there is there, once, and only open orders have changed."""
        assert self.count == len(self.orders), "an order twice"
        assert len(self.filled) == len(self.fills), "a fill twice"
        assert self.filled == {o.client_order_id for o in self.orders.values() if o.status == "filled"}
        assert self.fills[: len(before.fills)] == before.fills
        assert self.equity[: len(before.equity)] == before.equity
        for name, order in before.orders.items():
            assert name in self.orders, "an order was lost"
            assert order.status == "open" or self.orders[name] == order


@pytest.mark.parametrize("kind", ["embedded", "real"])
def test_kills_at_random_moments_lose_and_double_no_order(
    record_property, own_world, dryrun, first_bars, tmp_path, kind
):
    world, dice, bars = own_world(kind, 1.0), random.Random(SEED), first_bars(4_000 * KILLS)
    run, before, kills, opened = dryrun(world, A, bars, "a", FAST), None, 0, 0
    while kills < KILLS:
        run.arguments[-1] = FAST if kills % 2 else SLOW
        run.start()
        moment = time.monotonic() + dice.uniform(0.5, 3.0)
        wait_until(lambda until=moment: time.monotonic() > until, 10.0, pause_s=0.002)
        if run.arguments[-1] == SLOW:
            wait_until(lambda: Journal(run.out).open, 10.0, pause_s=0.002, fail=False)
        assert run.process.poll() is None, run.log.read_text()
        run.kill9()
        kills += 1
        journal = Journal(run.out)
        if before is not None:
            journal.goes_on_from(before)
        before, opened = journal, opened + (journal.open > 0)
    run.arguments[-1] = "--speed=max"
    run.start()
    run.finished()
    Journal(run.out).goes_on_from(before)
    assert equal(A, bars, run.out) is True
    told = world.command("parity", str(run.out), "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    record_property("told", f"restart, {kind}: seed {SEED}, {kills} kills, {opened} with open orders, 0 lost, 0 twice")
    assert opened


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_time_and_the_same_command_goes_on(world, dryrun, first_bars, number):
    bars = first_bars(10_000)
    run = dryrun(world, A, bars, "a", "--speed=60000x")
    run.start()
    wait_until(lambda: run.out.joinpath("run", "state.db").exists(), 10.0)
    wait_until(lambda: len(Journal(run.out).equity) > 50, 20.0)
    began = time.monotonic()
    run.process.send_signal(number)
    run.finished(code=128 + number)
    assert time.monotonic() - began < 5.0
    assert "saved in" in run.log.read_text()
    assert 50 < len(Result.load(run.out).equity) < 10_000
    run.start()
    run.finished()
    assert equal(A, bars, run.out) is True


@pytest.mark.parametrize("kind", ["embedded", "real"])
def test_a_signal_ends_a_run_in_time_while_everything_else_stands_still(own_world, dryrun, first_bars, kind):
    world, bars = own_world(kind), first_bars(10_000)
    run = dryrun(world, A, bars, "a", "--speed=60000x")
    run.start()
    wait_until(lambda: run.out.joinpath("run", "state.db").exists() and len(Journal(run.out).equity) > 50, 20.0)
    others = [*world.programs.values(), *(one for name, one in world.servers.items() if name == "kafka")]
    for one in others:
        one.pause()
    began = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    run.finished(code=143)
    took = time.monotonic() - began
    for one in others:
        one.resume()
    assert took < 5.0, run.log.read_text()
    assert "saved" in run.log.read_text()
    run.start()
    run.finished()
    assert equal(A, bars, run.out) is True


def test_a_strategy_that_is_stopped_ends_its_run_with_a_result_and_what_only_it_used(world, dryrun, first_bars):
    bars = first_bars(20_000)
    runs = {"A": dryrun(world, A, bars, "a", "--speed=3000x"), "B": dryrun(world, B, bars, "b", "--speed=3000x")}
    for run in runs.values():
        run.start()
    client = GatewayClient(world.url, "")
    nodes = {one["strategy_id"]: client.strategy(one["strategy_id"])["nodes"] for one in client.strategies()}
    ids = {"B" if any(n["name"] == "spread" for n in found) else "A": one for one, found in nodes.items()}
    topics = named_topics(client)
    observer = Observer.at(client, sorted(topics.values()))
    wait_until(lambda: min(observer.last(topics[name]) for name in ("fast", "spread", "mean")) > 0, 20.0)
    assert world.command("stop", ids["A"], "--gateway-url", world.url).returncode == 0
    told = runs["A"].finished()
    assert len(Result.load(runs["A"].out).outputs["mean"]) > 0
    assert told["bars"]["price"]["computed"] + told["bars"]["price"]["read"] > 50
    goal = observer.last(topics["mean"]) + 60 * 100
    wait_until(lambda: observer.last(topics["mean"]) > goal, 20.0)
    assert observer.last(topics["fast"]) < goal - 60 * 50, "nobody uses it any more"
    world.command("stop", ids["B"], "--gateway-url", world.url)
    runs["B"].finished()
    observer.end()
