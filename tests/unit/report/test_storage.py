"""Results on disk: all or nothing, equal to the bit when read again."""

import json
import resource

import numpy as np
import pandas as pd
import pytest

from qmtl.errors import DataFormatError, SourceNotFoundError, WriteError
from qmtl.indicators import sma
from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Costs, Node, Runner, Strategy, StreamInput
from qmtl.sdk.trade import target_position


class Cross(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        fast, slow = sma(price.close, 3, name="fast"), sma(price.close, 9, name="a/b slow")
        words = Node(
            input={"price": price}, compute_fn=lambda view: view.array("price", "close").copy(), period=2, name="words"
        )
        self.add_nodes([price, fast, slow, words, target_position(fast > slow, price=price, name="position")])

    def define_execution(self):
        self.set_target("position", costs=Costs(taker_bps=5))


@pytest.fixture
def result(sample_bars):
    return Runner.backtest(Cross, data={"price": pd.DataFrame(sample_bars(bars=400))})


def test_what_was_saved_is_read_again_to_the_bit(result, tmp_path):
    again = Result.load(result.save(tmp_path / "run"))
    assert compare(result, again).equal
    assert dict(again.metrics) == pytest.approx(dict(result.metrics), nan_ok=True)
    assert again.metrics.basis == result.metrics.basis
    assert again.graph == result.graph
    assert sorted(again.outputs) == ["a/b slow", "fast", "position", "price", "words"]


def test_every_table_is_there_as_csv_too(result, tmp_path):
    result.save(tmp_path / "run")
    fills = pd.read_csv(tmp_path / "run" / "fills.csv")
    assert fills.price.tolist() == result.fills.price.tolist()
    assert pd.read_csv(tmp_path / "run" / "outputs" / "fast.csv").columns.tolist() == ["ts", "value"]


def test_saving_again_replaces_and_leaves_nothing_else(result, tmp_path):
    result.save(tmp_path / "run")
    result.save(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_directory_of_something_else_is_not_touched(result, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match="is no result"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_leaves_nothing_half_written(result, tmp_path):
    assert result.metrics  # kernels that are compiled first write to their own cache
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WriteError, match="cannot write"):
            result.save(tmp_path / "run")
        with pytest.raises(WriteError, match="cannot write"):
            result.report(tmp_path / "page.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda d: (d / "result.json").write_text("{"), DataFormatError),
        (lambda d: (d / "equity.parquet").unlink(), DataFormatError),
        (lambda d: (d / "result.json").unlink(), SourceNotFoundError),
        (lambda d: (d / "result.json").write_text(json.dumps({"format": "qmtl.result/9"})), DataFormatError),
    ],
)
def test_damage_is_told(result, tmp_path, damage, error):
    damage(result.save(tmp_path / "run"))
    with pytest.raises(error):
        Result.load(tmp_path / "run")


def test_the_report_is_one_small_page_without_network(result, tmp_path):
    page = result.report(tmp_path / "page.html").read_text()
    assert len(page) < 3_000_000
    assert "Cross" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert "</script><img" not in page


def test_compare_names_the_first_difference(result, sample_bars):
    bars = pd.DataFrame(sample_bars(bars=400))
    bars.loc[200, "close"] = np.nextafter(bars.close[200], np.inf)
    found = compare(result, Runner.backtest(Cross, data={"price": bars}))
    assert not found.equal
    assert found.first_difference["table"] in ("outputs/a/b slow", "outputs/fast", "outputs/price")
    assert found.first_difference["ts"] == bars.ts[200]


def test_a_strategy_that_does_not_trade_has_empty_accounts(sample_bars, tmp_path):
    result = Runner.offline(Cross, data={"price": pd.DataFrame(sample_bars(bars=50))})
    assert len(result.metrics) == 0
    assert result.trades.empty
    assert list(result.equity.columns) == ["equity", "cash", "drawdown"]
    assert compare(result, Result.load(result.save(tmp_path / "run"))).equal
