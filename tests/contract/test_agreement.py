"""Agreement with independent implementations on a month of real minutes."""

import numpy as np
import pandas as pd
import pytest
import talib

from qmtl.indicators import ema, macd, rsi, sma
from qmtl.sdk import Runner, Strategy, StreamInput
from qmtl.transforms import crossover, lag, log_return, rank, resample, rolling_max, rolling_min, rolling_std, zscore


@pytest.fixture(scope="module")
def minutes(real_data):
    return pd.read_parquet(real_data("BTC-PERP-1m.parquet")).set_index("ts")


def outputs(build, bars, symbols=None):
    class One(Strategy):
        def setup(self):
            price = StreamInput(tags=["BTC"], interval="1m", symbols=symbols, name="price")
            self.add_nodes([price, build(price)])

    return Runner.offline(One, data={"price": bars}).outputs["node"]


CASES = {
    "sma": (lambda p: sma(p.close, 20, name="node"), lambda b: talib.SMA(b.close, 20), 1e-12),
    "ema": (lambda p: ema(p.close, 20, name="node"), lambda b: talib.EMA(b.close, 20), 1e-6),
    "rsi": (lambda p: rsi(p.close, 14, name="node"), lambda b: talib.RSI(b.close, 14), 1e-5),
    "rolling_std": (lambda p: rolling_std(p.close, 30, name="node"), lambda b: b.close.rolling(30).std(), 1e-7),
    "rolling_min": (lambda p: rolling_min(p.low, 30, name="node"), lambda b: talib.MIN(b.low, 30), 0.0),
    "rolling_max": (lambda p: rolling_max(p.high, 30, name="node"), lambda b: talib.MAX(b.high, 30), 0.0),
    "lag": (lambda p: lag(p.close, 3, name="node"), lambda b: b.close.shift(3), 0.0),
    "log_return": (lambda p: log_return(p.close, name="node"), lambda b: np.log(b.close / b.close.shift(1)), 1e-15),
}


@pytest.mark.parametrize("name", CASES)
def test_one_output(name, minutes):
    build, oracle, tolerance = CASES[name]
    made, wanted = outputs(build, minutes)["value"], oracle(minutes)
    wanted = wanted[made.index]
    assert len(made) > 40_000
    assert np.abs(made / wanted - 1)[wanted.abs() > 1e-9].max() <= tolerance if tolerance else made.equals(wanted)


def test_macd(minutes):
    made = outputs(lambda p: macd(p.close, name="node"), minutes)
    for name, wanted in zip(("macd", "signal", "histogram"), talib.MACD(minutes.close), strict=True):
        assert np.abs(made[name] - wanted[made.index]).max() < 1e-3 * minutes.close.std() * 1e-3


def test_crossover(minutes):
    made = outputs(lambda p: crossover(sma(p.close, 5), sma(p.close, 20), name="node"), minutes)["value"]
    above = (talib.SMA(minutes.close, 5) > talib.SMA(minutes.close, 20)).astype(float)
    wanted = above.diff()[made.index]
    assert (made == wanted).mean() > 0.999  # ties are decided by the last bit of another summation


def test_resample(minutes):
    made = outputs(lambda p: resample(p, "5m", name="node"), minutes)
    groups = minutes.groupby(minutes.index // 300 * 300)
    wanted = groups.agg({"open": "first", "high": "max", "low": "min", "close": "last"}).loc[made.index]
    assert made[["open", "high", "low", "close"]].equals(wanted.rename_axis("ts"))


def test_rank_and_zscore():
    random, symbols = np.random.default_rng(3), ("A", "B", "C", "D")
    wide = pd.DataFrame(random.normal(size=(200, 4)), columns=symbols).round(1)
    long = wide.rename_axis("row").reset_index().melt("row", var_name="symbol", value_name="close")
    bars = long.assign(ts=long.row * 60).drop(columns="row")
    ranked = outputs(lambda p: rank(p.close, name="node"), bars, symbols)["value"]
    assert np.allclose(ranked, (wide.rank(axis=1) - 1) / 3)
    scored = outputs(lambda p: zscore(p.close, name="node"), bars, symbols)["value"]
    assert np.allclose(scored, wide.sub(wide.mean(axis=1), axis=0).div(wide.std(axis=1, ddof=0), axis=0))
