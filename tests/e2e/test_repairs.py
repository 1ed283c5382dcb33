"""Bars that come too late and are better: the newest revision of everything is the back-test over repaired data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qmtl.frame import Frame
from qmtl.live.run_record import RunRecord
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from qmtl.sdk.parity import RECORD, certify
from qmtl.streams import parse_faults
from qmtl.streams.disturbed import Disturbed
from qmtl.streams.pace import Pace
from stack.runners import DryRun

STRATEGIES = Path(__file__).with_name("strategies") / "mended.py"
BARS = 3000
FAULTS = ["late=0.001,repair=1,seed=1", "late=0.01,missing=0.01,repair=1,seed=2"]


@pytest.fixture(scope="module")
def bars(real_data):
    return pd.read_parquet(real_data("BTC-PERP-1m.parquet")).head(BARS)


def repaired(bars, faults):
    """Return what the bars are when all late ones are in their places, and how many were late."""
    fields = [name for name in bars if name != "ts"]
    frame = Frame(bars.ts.to_numpy(np.int64), {name: bars[[name]].to_numpy(float) for name in fields}, 60)
    feed = Disturbed(frame, Pace(None), parse_faults(faults))
    whole = feed.repaired
    return pd.DataFrame({"ts": whole.ts, **{name: whole.columns[name][:, 0] for name in fields}}), len(feed.late)


def assert_is_repaired(out, address, better):
    found = certify(out)
    assert found.equal, found.first_difference
    expected = Runner.backtest(load_strategy(address), data={"price": better}).outputs
    record, ids = RunRecord(out / RECORD), json.loads((out / "result.json").read_text())["node_ids"]
    for name in ("fast", "slow", "apart", "position"):
        latest = record.latest(ids[name])
        assert latest.ts.tolist() == expected[name].index.tolist(), name
        for field, column in zip(latest.fields, latest.values, strict=True):
            assert column.tobytes() == expected[name][[field]].to_numpy(float).tobytes(), name
    told = {ts for rows in record.late(ids["price"]) for ts in rows.ts.tolist()}
    record.close()
    return told


@pytest.mark.parametrize("faults", FAULTS)
def test_a_run_ends_when_repairs_have_travelled(world, bars, faults, tmp_path):
    better = repaired(bars, faults)
    bars.to_parquet(tmp_path / "bars.parquet")
    more = ("--until-end", "--speed=max", f"--faults={faults}")
    run = DryRun(world, f"{STRATEGIES}:A", {"price": tmp_path / "bars.parquet"}, tmp_path / "A", *more)
    run.start()
    run.finished()
    assert len(assert_is_repaired(tmp_path / "A", f"{STRATEGIES}:A", better[0])) >= min(better[1], 3)


@pytest.mark.parametrize("faults", FAULTS)
def test_who_reads_a_node_of_another_is_repaired_too(world, bars, faults, tmp_path):
    better = repaired(bars, faults)
    bars.to_parquet(tmp_path / "bars.parquet")
    more = ("--until-end", "--speed=60000x", f"--faults={faults}")
    runs = [
        DryRun(world, f"{STRATEGIES}:{name}", {"price": tmp_path / "bars.parquet"}, tmp_path / name, *more)
        for name in "AB"
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.finished()
    for name in "AB":
        assert_is_repaired(tmp_path / name, f"{STRATEGIES}:{name}", better[0])
