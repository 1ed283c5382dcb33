"""Whoever dies, freezes or is cut off: no subscriber misses a bar, has one twice, or has one out of order."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from qmtl.wire.client import GatewayClient
from stack.cut import Cut
from stack.observer import Counts, Observer, named_topics
from stack.process import free_ports
from stack.runners import DryRun
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(1800)

ROUNDS = int(os.environ.get("QMTL_ROUNDS", "10"))
SEED = int(os.environ.get("QMTL_SEED", "5"))
#: A session that has not beaten for so long is dead; 5 s where nobody says otherwise.
TIMEOUT_S = float(os.environ.get("QMTL_SESSION_TIMEOUT", "1"))
STRATEGIES = Path(__file__).with_name("strategies") / "shared.py"
SHARED = ("price", "mean")
#: Bars of one minute come so many times faster: 50 a second.
SPEED, BARS_S = "3000x", 50
#: A round may take so long until everybody is well again.
WELL_S = 60.0
FAULTS = {
    "embedded": ["kill", "freeze", "cut", "gateway", "two"],
    "real": ["kill", "freeze", "cut", "gateway", "dagm", "kafka", "two"],
}
#: Faults after which somebody else has to take over within the timeout and a second.
IN_TIME = ("kill", "freeze", "cut")


class Field:
    """A world with runners, whatever can be done to them, and somebody who watches."""

    def __init__(self, own_world, kind, folder, bars, timeout_s):
        gateway, kafka = (Cut(port) for port in free_ports(2))
        self.world = own_world(kind, timeout_s, kafka.port)
        self.cuts = [gateway] if kind == "embedded" else [gateway, kafka]
        gateway.start(self.world.programs["gateway"].port)
        if kind == "real":
            kafka.start(self.world.servers["kafka"].port)
        url = f"http://127.0.0.1:{gateway.port}"
        self.bars, self.timeout_s = bars, timeout_s
        self.outs = {name: folder / name for name in ("a", "b", "again")}
        self.runners = {
            name: DryRun(
                self.world,
                f"{STRATEGIES}:{'B' if name == 'b' else 'A'}",
                {"price": bars},
                out,
                f"--speed={SPEED}",
                "--until-end",
                gateway_url=url,
            )
            for name, out in self.outs.items()
        }
        for runner in self.runners.values():
            runner.start()
        self.client = GatewayClient(self.world.url, "")
        self.strategy = self.client.strategies()[0]["strategy_id"]
        self.topics = named_topics(self.client)
        self.observer = Observer.at(self.client, sorted(self.topics.values()))

    def close(self):
        say(self.told())
        self.observer.end()
        for runner in self.runners.values():
            runner.close()
        for cut in self.cuts:
            cut.close()

    def told(self):
        """Return what everybody said, and what the control plane says of them."""
        said = [f"{one.out.name} {one.process.pid}: {one.log.read_text()[-2000:]}" for one in self.runners.values()]
        said += [f"{name}: {one.log.read_text()[-2000:]}" for name, one in self.world.programs.items()]
        nodes = self.client.strategy(self.strategy)["nodes"]
        said += [str({key: n[key] for key in ("name", "host", "epoch", "state", "reason")}) for n in nodes]
        return "\n".join(said)

    # ----------------------------------------------------------------------------- who is who

    def producer(self):
        """Return the runner that produces the stream."""

        def found():
            hosts = {n["name"]: n["host"] or "" for n in self.client.strategy(self.strategy)["nodes"]}
            pid = hosts["price"].rpartition(":")[2]
            return next((one for one in self.runners.values() if str(one.process.pid) == pid), None)

        return wait_until(found, WELL_S)

    def last(self):
        return min(self.observer.last(self.topics[name]) for name in SHARED)

    def moves_on(self, bars=25):
        """Wait until the shared nodes have had more bars."""
        goal = self.last() + 60 * bars
        wait_until(lambda: self.last() >= goal, WELL_S)

    def others(self, runner):
        return [one for one in self.runners.values() if one is not runner]

    # ------------------------------------------------------------------------------- what happens

    def handed_over(self, began, epochs):
        """Wait until records of the shared nodes come under newer epochs; return the seconds since a fault began."""

        def found():
            at = [self.observer.handed_over(topic, epoch) for topic, epoch in epochs.items()]
            return None if None in at else max(at)

        return wait_until(found, WELL_S) - began

    def epochs(self):
        return {self.topics[name]: self.observer.epoch(self.topics[name]) for name in SHARED}

    def kill(self, _):
        victim, epochs, began = self.producer(), self.epochs(), time.monotonic()
        victim.kill9()
        took = self.handed_over(began, epochs)
        victim.start()
        return took

    def freeze(self, dice):
        victim, epochs, began = self.producer(), self.epochs(), time.monotonic()
        victim.pause()
        took = self.handed_over(began, epochs)
        elapse(self.timeout_s * dice.uniform(0.2, 1.0))
        victim.resume()
        return took

    def cut(self, dice):
        victim, epochs, began = self.producer(), self.epochs(), time.monotonic()
        for one in self.cuts:
            one.cut(victim.process.pid)
        took = self.handed_over(began, epochs)
        elapse(self.timeout_s * dice.uniform(0.2, 1.0))
        for one in self.cuts:
            one.heal(victim.process.pid)
        return took

    def _restarted(self, server, dice):
        server.kill9()
        elapse(dice.uniform(0.0, 1.0))
        server.start()

    def gateway(self, dice):
        self._restarted(self.world.programs["gateway"], dice)

    def dagm(self, dice):
        self._restarted(self.world.programs["dagm"], dice)

    def kafka(self, dice):
        self._restarted(self.world.servers["kafka"], dice)

    def two(self, dice):
        """Kill the producer and something else at once: a stand-by or a service."""
        victim = self.producer()
        services = [self.world.programs[n] for n in ("gateway", "dagm") if n in self.world.programs]
        services += [self.world.servers[n] for n in ("kafka",) if n in self.world.servers]
        other = dice.choice([*self.others(victim), *services])
        epochs, began = self.epochs(), time.monotonic()
        victim.kill9()
        other.kill9()
        if other not in self.runners.values():
            elapse(dice.uniform(0.0, 1.0))
            other.start()
        took = self.handed_over(began, epochs)
        for one in (victim, other):
            if one.process.poll() is not None:
                one.start()
        return took

    def finish(self):
        """Play the rest as fast as it goes."""
        for runner in self.runners.values():
            assert runner.process.poll() is None, f"it ended too early: {runner.log.read_text()}"
            runner.kill9()
            runner.arguments = [*(one for one in runner.arguments if one != f"--speed={SPEED}"), "--speed=max"]
        for runner in self.runners.values():
            runner.start()
        return [runner.finished(240.0) for runner in self.runners.values()]


def say(text):
    """Tell what happens, for who looks for the cause of a failure."""
    sys.stdout.write(f"{text}\n")


def elapse(seconds):
    """Let something take its time."""
    wait_until(lambda: False, seconds, fail=False)


@pytest.fixture
def field(own_world, real_data, tmp_path):
    made = []

    def get(kind, rounds, timeout_s):
        bars = tmp_path / "bars.parquet"
        pd.read_parquet(real_data("BTC-PERP-1m.parquet")).head(BARS_S * (60 + 20 * rounds)).to_parquet(bars)
        made.append(Field(own_world, kind, tmp_path, bars, timeout_s))
        return made[0]

    yield get
    for one in made:
        one.close()


def expected(bars):
    return {name: Runner.backtest(load_strategy(f"{STRATEGIES}:{name}"), data={"price": bars}) for name in "AB"}


def at_subscriber(result, backtest):
    """Count what a subscriber got of every node."""
    missing = doubled = disordered = 0
    for name, table in backtest.outputs.items():
        should, found = table.index.to_numpy(), result.outputs[name].index.to_numpy()
        missing += len(np.setdiff1d(should, found))
        doubled += len(found) - len(np.unique(found))
        disordered += int((np.diff(found) < 0).sum())
    return Counts(missing, doubled, disordered)


def verdict(field):
    """Compare everything with the back-tests; return what was counted, at subscribers and in topics."""
    wanted = expected(field.bars)
    counted = []
    for name, out in field.outs.items():
        backtest, result = wanted["B" if name == "b" else "A"], Result.load(out)
        counted.append(at_subscriber(result, backtest))
        found = compare(backtest, result)
        assert found.equal, (name, found.first_difference)
    outputs = {name: table for result in wanted.values() for name, table in result.outputs.items()}
    field.observer.end()
    topics = {field.topics[name]: table.index.to_numpy() for name, table in outputs.items() if name in field.topics}
    return Counts(*map(sum, zip(*counted, field.observer.counts(topics), strict=True)))


def table(kind, struck, hand_overs, counts):
    """Return what happened, for people."""
    lines = [f"fail-over, {kind}: seed {SEED}, session timeout {TIMEOUT_S:g} s, {counts}"]
    for fault, rounds in struck.items():
        took = hand_overs[fault]
        times = (
            f"hand-over p50 {np.median(took):.2f} s, p99 {np.quantile(took, 0.99):.2f} s, max {max(took):.2f} s"
            if took
            else "no hand-over"
        )
        lines.append(f"  {fault:<8} {rounds:>3} rounds  {times}")
    return "\n".join(lines)


@pytest.mark.parametrize("kind", ["embedded", "real"])
def test_rounds_of_faults(record_property, field, kind):
    run, dice = field(kind, ROUNDS, TIMEOUT_S), random.Random(SEED)
    struck, hand_overs = Counter(), defaultdict(list)
    faults = [FAULTS[kind][number % len(FAULTS[kind])] for number in range(ROUNDS)]
    dice.shuffle(faults)
    run.moves_on()
    for number, fault in enumerate(faults):
        elapse(dice.uniform(0.0, 1.0))
        say(f"round {number}: {fault} behind bucket {run.last()}")
        took = getattr(run, fault)(dice)
        say(f"round {number}: {fault}, {'no hand-over' if took is None else f'{took:.2f} s'}")
        struck[fault] += 1
        hand_overs[fault] += [] if took is None else [took]
        run.moves_on()
    run.finish()
    counts = verdict(run)
    told = table(kind, struck, hand_overs, counts)
    say(told)
    record_property("told", told)
    assert counts == (0, 0, 0)
    for fault in IN_TIME:
        assert not hand_overs[fault] or np.quantile(hand_overs[fault], 0.99) < TIMEOUT_S + 1.0, told
