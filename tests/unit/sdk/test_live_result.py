"""The result of a run on paper is that of the back-test over the same bars."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qmtl.errors import RunError
from qmtl.interval import Span
from qmtl.live.run_store import RunStore
from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.live_result import assemble
from qmtl.sdk.loader import load_strategy
from stack.recordings import prepared, record

STRATEGIES = Path(__file__).parents[2] / "e2e" / "strategies" / "paper.py"


@pytest.fixture
def bars(sample_bars):
    table = pd.DataFrame(sample_bars(bars=400))
    return table[np.random.default_rng(1).random(400) < 0.9].reset_index(drop=True)


@pytest.mark.parametrize("name", ["Cross", "Slow", "Quiet"])
@pytest.mark.parametrize("start", [None, 150])
def test_a_run_on_paper_equals_its_back_test(bars, tmp_path, name, start):
    address, first = f"{STRATEGIES}:{name}", 0 if start is None else int(bars.ts[start])
    live = record(address, {"price": bars}, tmp_path / "run", seed=3, span=Span(first, 1 << 40))
    tested = Runner.backtest(load_strategy(address), data={"price": bars}, start_time=first or None)
    found = compare(tested, live)
    assert found.equal, found
    assert live.gaps == tested.gaps
    assert live.warmup == tested.warmup
    assert live.graph == tested.graph
    assert set(tested.provenance) - {"gateway"} <= set(live.provenance)
    assert live.provenance["data"] == tested.provenance["data"]
    assert dict(live.metrics) == pytest.approx(dict(tested.metrics), nan_ok=True)
    assert live.provenance["strategy_address"] == address
    assert compare(live, Result.load(tmp_path / "run")).equal


def test_the_journal_has_every_order_with_its_client_id(bars, tmp_path):
    live = record(f"{STRATEGIES}:Slow", {"price": bars}, tmp_path / "run")
    journal = Result.load(tmp_path / "run").journal
    pd.testing.assert_frame_equal(journal, live.journal)
    assert journal.client_order_id.is_unique
    assert (journal.status == "filled").sum() == len(live.fills)
    assert pd.read_csv(tmp_path / "run" / "journal.csv").client_order_id.tolist() == journal.client_order_id.tolist()


def test_a_run_without_bars_has_no_result_and_says_so(bars, tmp_path):
    run = prepared(f"{STRATEGIES}:Cross", {"price": bars}, tmp_path / "run")
    store = RunStore(run.folder / "state.db")
    with pytest.raises(RunError, match="nothing was delivered yet"):
        assemble(run.strategies[0], run, run.placed[0], store, {}, {})
    store.close()


def test_the_state_of_a_run_stays_where_it_is_when_its_result_is_written(bars, tmp_path):
    record(f"{STRATEGIES}:Cross", {"price": bars}, tmp_path / "run")
    before = (tmp_path / "run" / "run" / "state.db").stat()
    result = Result.load(tmp_path / "run")
    (tmp_path / "run" / "mine.txt").write_text("mine")
    result.save(tmp_path / "run")
    after = (tmp_path / "run" / "run" / "state.db").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (tmp_path / "run" / "mine.txt").exists()
    assert not (tmp_path / "run" / "run" / "result").exists()
