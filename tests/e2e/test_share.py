"""Strategies in several processes share what they have in common: computed once, the same bits as back-tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qmtl.backends.connect import open_broker
from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from qmtl.wire.client import GatewayClient
from qmtl.wire.sessions import Beat
from stack.observer import Observer, named_topics
from stack.runners import DryRun
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

STRATEGIES = Path(__file__).with_name("strategies") / "shared.py"
A, B = f"{STRATEGIES}:A", f"{STRATEGIES}:B"
#: What all of them have, and how many bars pass before its first record.
SHARED = {"price": 0, "mean": 49}
DAY_MS = 86_400_000
#: A thousand bars a second.
FAST = "--speed=60000x"


@pytest.fixture
def dryrun(world, tmp_path):
    """Return a function that makes dry-runs, closed in the end."""
    made = []

    def get(addresses, bars, name, *more):
        made.append(DryRun(world, addresses, {"price": bars}, tmp_path / name, "--until-end", *more))
        return made[-1]

    yield get
    for one in made:
        one.close()


def together(runs: Sequence[DryRun]) -> None:
    """Start them all at once."""
    with ThreadPoolExecutor(len(runs)) as threads:
        list(threads.map(lambda run: run.start(120.0), runs))


def equal(address, bars, out):
    found = compare(Runner.backtest(load_strategy(address), data={"price": bars}), Result.load(out))
    return found.equal or (address, found.first_difference)


def each_once(counts: Sequence[Mapping[str, Any]], bars: int, producers: Mapping[str, int]) -> None:
    """Every bar of a shared node was computed by one process; so many of them computed any."""
    for node, before in SHARED.items():
        computed = [one[node]["computed"] for one in counts]
        assert sum(computed) == bars - before, (node, counts)
        assert sum(map(bool, computed)) == producers[node], (node, counts)


def test_two_processes_share_a_node_and_equal_their_backtests(dryrun, first_bars):
    data = first_bars(6_000)
    runs = {A: dryrun(A, data, "a", "--speed=max"), B: dryrun(B, data, "b", "--speed=max")}
    together([*runs.values()])
    told = [run.finished() for run in runs.values()]
    each_once([one["bars"] for one in told], 6_000, {"price": 1, "mean": 1})
    for address, run in runs.items():
        assert equal(address, data, run.out) is True


def test_one_strategy_in_two_processes_is_one_strategy(world, dryrun, first_bars):
    data = first_bars(3_000)
    runs = [dryrun(A, data, name, FAST) for name in ("once", "twice")]
    together(runs)
    told = [run.finished() for run in runs]
    assert told[0]["strategy_id"] == told[1]["strategy_id"]
    assert told[0]["session_id"] != told[1]["session_id"]
    for node, before in {**SHARED, "fast": 9, "position": 49}.items():
        assert sum(one["bars"][node]["computed"] for one in told) == 3_000 - before, (node, told)
    for run in runs:
        assert equal(A, data, run.out) is True


def test_who_joins_late_has_everything_from_the_first_bar_on(world, dryrun, first_bars):
    data = first_bars(6_000)
    first, late, last = (
        dryrun(address, data, name, FAST) for address, name in ((A, "first"), (B, "late"), (A, "last"))
    )
    first.start()
    client = GatewayClient(world.url, "")
    mean = named_topics(client)["mean"]
    observer = Observer.at(client, [mean])
    wait_until(lambda: sum(map(len, observer.buckets[mean])) > 1_000, 30.0)
    late.start()
    told = [first.finished(), late.finished()]
    observer.end()
    each_once([one["bars"] for one in told], 6_000, {"price": 1, "mean": 1})
    assert told[1]["bars"]["mean"]["read"] == 6_000 - 49
    last.start()  # when all the others have ended
    told = last.finished()
    for node, before in {**SHARED, "fast": 9, "position": 49}.items():
        assert told["bars"][node] == {"computed": 0, "read": 6_000 - before}
    for address, run in ((A, first), (B, late), (A, last)):
        assert equal(address, data, run.out) is True


def test_a_stream_is_kept_for_as_long_as_its_slowest_reader_begins_with(world, dryrun, first_bars):
    async def kept():
        broker = await open_broker(client.attend(Beat("nobody")).broker_url)
        found = await broker.describe([price])
        await broker.close()
        return found[price].retention_ms / DAY_MS

    data = first_bars(20_200)
    runs = [dryrun(address, data, name, "--speed=max") for address, name in ((A, "a"), (f"{STRATEGIES}:Slow", "slow"))]
    runs[0].start()
    client = GatewayClient(world.url, "")
    price = named_topics(client)["price"]
    assert asyncio.run(kept()) == 7, "what streams have"
    runs[1].start()
    wait_until(lambda: 28 < asyncio.run(kept()) < 28.01, 20.0)
    for run in runs:
        run.finished()


def test_a_hundred_strategies_in_ten_processes_compute_what_they_share_once(world, dryrun, first_bars):
    data = first_bars(2_000)
    addresses = [f"{STRATEGIES}:S{number:02}" for number in range(100)]
    runs = [dryrun(" ".join(addresses[n : n + 10]), data, f"p{n}", "--speed=6000x") for n in range(0, 100, 10)]
    together(runs)
    told = [run.finished(200.0)["strategies"] for run in runs]
    counts = [strategies[0]["bars"] for strategies in told]
    each_once(counts, 2_000, {"price": 1, "mean": 1})
    strategies = [one for process in told for one in process]
    assert len({one["strategy_id"] for one in strategies}) == 100
    for number, one in enumerate(strategies):
        assert one["bars"]["own"] == {"computed": 2_000 - 50 - number, "read": 0}
    for number in range(0, 100, 9):
        out = runs[number // 10].out / f"S{number:02}"
        assert equal(addresses[number], data, out) is True
