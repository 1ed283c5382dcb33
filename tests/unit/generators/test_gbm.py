"""Geometric Brownian motion: the moments of theory, and the same bits whoever asks."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.errors import UsageError
from qmtl.generators import gbm, ohlcv_from_path
from qmtl.generators.brownian import BLOCK, brownian
from qmtl.interval import FOREVER, Span
from qmtl.sdk.data_io import load

YEAR = 365 * 86_400


def test_increments_are_normal_with_variance_one():
    steps = np.diff(brownian(3, 0, 400_000))
    n = len(steps)
    assert abs(steps.mean()) < 4 / math.sqrt(n)
    assert abs(steps.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((steps**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((steps**4).mean() - 3) < 4 * math.sqrt(96 / n)


@pytest.mark.parametrize("lag", [1, 2, BLOCK // 2, BLOCK, 3 * BLOCK])
def test_increments_are_independent_inside_blocks_and_across(lag):
    steps = np.diff(brownian(4, 0, 400_000))
    assert abs((steps[lag:] * steps[:-lag]).mean()) < 4 / math.sqrt(len(steps) - lag)


def test_variance_grows_with_time_over_many_seeds():
    for at in (100, BLOCK, 10 * BLOCK + 7):
        ends = np.array([brownian(seed, at, at)[0] for seed in range(800)]) / math.sqrt(at)
        assert abs(ends.mean()) < 4 / math.sqrt(800)
        assert abs(ends.var() - 1) < 4 * math.sqrt(2 / 800)


def test_the_expected_price_grows_with_the_drift():
    day = Span(86_400 - 60, 86_400)
    closes = np.array(
        [gbm(seed=k, volatility=3.0, drift=50.0, start=0).bars(60, day).columns["close"][0, 0] for k in range(800)]
    )
    deviation = 3.0 * math.sqrt(1 / 365)
    assert abs(closes.mean() / (100 * math.exp(50.0 / 365)) - 1) < 4 * deviation / math.sqrt(800)
    assert abs(np.log(closes).std() / deviation - 1) < 4 / math.sqrt(2 * 800)


@settings(max_examples=60)
@given(st.integers(0, 20_000), st.integers(1, 3000), st.sampled_from([15, 60, 300]))
def test_any_part_has_the_bits_of_the_whole(first, count, interval):
    market = gbm(seed=9, start=0)
    whole = market.bars(interval, Span(0, 23_000 * interval))
    part = market.bars(interval, Span(first * interval, (first + count) * interval))
    assert part.fingerprint() == whole.rows(first, first + count).fingerprint()


def test_long_spans_are_made_in_parts_of_the_same_bits():
    market = gbm(seed=9, start=0, step=1)
    whole = market.bars(60, Span(0, 1_200_000))
    assert len(whole) == 20_000
    for part in (Span(0, 60_000), Span(1_020_000, 1_080_000)):
        assert market.bars(60, part).fingerprint() == whole.slice(part).fingerprint()


def test_longer_bars_are_shorter_ones_put_together():
    market = gbm(seed=9, start=0)
    short, long = (market.bars(interval, Span(0, 30_000)).columns for interval in (60, 300))
    five = {name: short[name].reshape(-1, 5) for name in short}
    assert (long["open"][:, 0] == five["open"][:, 0]).all()
    assert (long["high"][:, 0] == five["high"].max(axis=1)).all()
    assert (long["low"][:, 0] == five["low"].min(axis=1)).all()
    assert (long["close"][:, 0] == five["close"][:, -1]).all()
    assert np.allclose(long["volume"][:, 0], five["volume"].sum(axis=1))
    assert (short["open"][1:] == short["close"][:-1]).all()


def test_bars_lie_in_the_market_as_whole_buckets():
    market = gbm(start=100, end=400)
    assert market.bars(60, Span(0, FOREVER)).ts.tolist() == [120, 180, 240, 300]
    assert len(market.bars(60, Span(0, 100))) == 0


def test_it_is_a_history():
    market = gbm(seed=2, start=0, end=6000)
    bars = asyncio.run(load(market, name="price", interval=60, span=Span(0, FOREVER)))
    assert bars.fingerprint() == market.bars(60, Span(0, 6000)).fingerprint()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"price": 0}, "price=0"),
        ({"volatility": math.nan}, "volatility=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"step": 0}, "step=0"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        gbm(**wrong)


def test_bars_that_cannot_be_made_are_refused():
    with pytest.raises(UsageError, match="steps of 15 s"):
        gbm().bars(20, Span(0, 60))
    with pytest.raises(UsageError, match="has no end"):
        gbm().bars(60, Span(0, FOREVER))
    with pytest.raises(UsageError, match="whole number of bars"):
        ohlcv_from_path(np.ones(4), 2)
