"""Histories from anywhere: strict checks that name source, row and remedy; warm-up; providers."""

import asyncio

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from qmtl.errors import DataError, DataFormatError, QmtlError, SourceNotFoundError, UsageError
from qmtl.interval import FOREVER, Span
from qmtl.sdk import data_io
from qmtl.sdk.data_io import load

ALL = Span(0, FOREVER)


@pytest.fixture
def bars(sample_bars):
    return pd.DataFrame(sample_bars(bars=100))


def read(source, span=ALL, **options):
    return asyncio.run(load(source, **{"name": "price", "interval": 60, "span": span} | options))


def sources(bars, folder):
    bars.to_csv(folder / "bars.csv", index=False)
    bars.to_parquet(folder / "bars.parquet")
    times = pd.to_datetime(bars.ts, unit="s", utc=True)
    bars.assign(ts=times).to_csv(folder / "times.csv", index=False)
    return {
        "pandas": bars,
        "pandas index": bars.set_index("ts"),
        "datetime index": bars.drop(columns="ts").set_index(pd.DatetimeIndex(times)),
        "aware times": bars.assign(ts=times),
        "another zone": bars.assign(ts=times.dt.tz_convert("Asia/Tokyo")),
        "polars": pl.DataFrame(bars.to_dict("list")),
        "arrow": pa.Table.from_pandas(bars),
        "csv": folder / "bars.csv",
        "csv with times": str(folder / "times.csv"),
        "parquet": folder / "bars.parquet",
    }


def test_every_kind_of_source_gives_the_same_bars(bars, tmp_path):
    prints = {name: read(source).fingerprint() for name, source in sources(bars, tmp_path).items()}
    assert len(set(prints.values())) == 1, prints


BAD = {
    "unsorted": (lambda b: b.iloc[::-1], "row 1 .*before row 0"),
    "duplicated": (lambda b: pd.concat([b.iloc[:5], b.iloc[4:]]), "row 5 repeats"),
    "off the grid": (lambda b: b.assign(ts=b.ts + 7), "row 0: .*not the start of a 1m bucket"),
    "nan": (lambda b: b.assign(close=b.close.where(b.index != 3)), "row 3 .*'close' is nan"),
    "infinite": (lambda b: b.assign(close=b.close.where(b.index != 3, np.inf)), "row 3 .*'close' is inf"),
    "no zone": (lambda b: b.assign(ts=pd.to_datetime(b.ts, unit="s")), "no zone"),
    "milliseconds": (lambda b: b.assign(ts=b.ts * 1000), "milliseconds"),
    "float times": (lambda b: b.assign(ts=b.ts.astype(float)), "'ts' is double"),
    "half seconds": (lambda b: b.assign(ts=pd.to_datetime(b.ts * 1000 + 500, unit="ms", utc=True)), "whole second"),
    "text times": (lambda b: b.assign(ts=b.ts.astype(str)), "'ts' is .*string"),
    "missing time": (lambda b: b.assign(ts=b.ts.astype("Int64").where(b.index != 2)), "row 2 has no ts"),
    "text": (lambda b: b.assign(close=b.close.astype(str)), "'close' is .*string, not numbers"),
    "empty": (lambda b: b.iloc[:0], "no rows"),
    "only times": (lambda b: b[["ts"]], "no column besides"),
    "no ts": (lambda b: b.rename(columns={"ts": "timestamp"}), "no column 'ts'"),
    "many symbols": (lambda b: b.assign(symbol=["A", "B"] * 50), "2 symbols, but the stream has none"),
    "a number": (lambda b: 5, "cannot read bars from 'int'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_refused_with_place_and_remedy(name, bars):
    damage, says = BAD[name]
    with pytest.raises(DataFormatError, match=f"price.*{says}") as caught:
        read(damage(bars))
    assert caught.value.hint


def test_files(bars, tmp_path):
    with pytest.raises(SourceNotFoundError, match="no file"):
        read(tmp_path / "absent.parquet")
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(DataFormatError, match="no readable parquet"):
        read(tmp_path / "broken.parquet")
    with pytest.raises(DataFormatError, match="no known kind"):
        read(tmp_path / "bars.xlsx")


def test_as_many_bars_as_warm_up_come_before_the_start_where_they_exist(bars):
    start = int(bars.ts[50])
    assert len(read(bars, Span(start, FOREVER), warmup=10)) == 60
    assert len(read(bars.drop(index=range(40, 50)), Span(start, FOREVER), warmup=10)) == 60
    assert len(read(bars, Span(start, FOREVER), warmup=500)) == 100


def test_a_span_without_bars_says_what_there_is(bars):
    with pytest.raises(DataError, match="no bars between") as caught:
        read(bars, Span(0, 60))
    assert "2022-01-01" in caught.value.hint


def test_a_universe_from_a_mapping_or_a_long_frame(bars):
    part = bars.iloc[10:60]
    by_symbol = read({"A": bars, "B": part}, symbols=("A", "B"))
    long = pd.concat([bars.assign(symbol="A"), part.assign(symbol="B"), part.assign(symbol="C")])
    assert read(long, symbols=("A", "B")).fingerprint() == by_symbol.fingerprint()
    assert np.isnan(by_symbol.columns["close"][:10, 1]).all()
    with pytest.raises(DataFormatError, match="no data for 'C'"):
        read({"A": bars}, symbols=("A", "C"))
    with pytest.raises(DataFormatError, match="no rows of symbol 'D'"):
        read(long, symbols=("A", "D"))


class Provider:
    """An archive that records what it was asked for."""

    def __init__(self, bars, covered=None):
        self.bars, self.asked = bars, []
        if covered is not None:
            self.coverage = lambda **_: asyncio.sleep(0, covered)

    async def fetch(self, start, end, *, node_id, interval):
        self.asked.append((start, end))
        return self.bars[(self.bars.ts >= start) & (self.bars.ts < end)]


def test_a_provider_is_asked_for_the_warm_up_too_and_further_back_over_gaps(bars):
    first, start = int(bars.ts[0]), int(bars.ts[80])
    provider = Provider(bars.drop(index=range(60, 80)))
    assert len(read(provider, Span(start, start + 600), warmup=10, node_id="n")) == 20
    assert provider.asked == [(start - 600, start + 600), (start - 1200, start + 600), (start - 2400, start + 600)]
    assert first < start


def test_a_provider_without_a_span_needs_a_coverage(bars):
    with pytest.raises(UsageError, match="does not say what it has"):
        read(Provider(bars))
    covered = [(int(bars.ts[0]), int(bars.ts[99]) + 60)]
    assert len(read(Provider(bars, covered))) == 100


@pytest.mark.parametrize(
    ("fetch", "says"),
    [
        (lambda self, *a, **k: (_ for _ in ()).throw(OSError("no route")), "failed: OSError: no route"),
        (lambda self, *a, **k: [1, 2], "cannot read bars from 'list'"),
    ],
)
def test_a_provider_that_fails_is_named(fetch, says):
    class Bad:
        async def fetch(self, start, end, *, node_id, interval):
            return fetch(self, start, end)

    with pytest.raises(QmtlError, match=f"price.*{says}"):
        read(Bad(), Span(60, 660))


def test_a_provider_has_a_deadline(monkeypatch):
    class Slow:
        async def fetch(self, start, end, *, node_id, interval):
            await asyncio.Event().wait()

    monkeypatch.setattr(data_io, "DEADLINE", 0.05)
    with pytest.raises(DataError, match="took longer than"):
        read(Slow(), Span(60, 660))


def test_gaps_are_filled_by_symbol_between_its_first_and_last_bar(bars):
    part = bars.drop(index=[20, 21, 30]).iloc[10:60]
    frame = read({"A": bars.drop(index=[30]), "B": part}, symbols=("A", "B"))
    filled = data_io.fill_gaps(frame, [Span(int(bars.ts[30]), int(bars.ts[31]))])
    close, flags = filled.columns["close"], filled.columns["filled"]
    assert len(filled) == 100
    assert flags[:, 0].nonzero()[0].tolist() == [30]
    assert flags[:, 1].nonzero()[0].tolist() == [20, 21, 30]
    assert close[21, 1] == bars.close[19]
    assert filled.columns["high"][30, 0] == bars.close[29]
    assert filled.columns["volume"][30, 0] == 0.0
    assert np.isnan(close[:10, 1]).all()
    assert np.isnan(close[70:, 1]).all()
