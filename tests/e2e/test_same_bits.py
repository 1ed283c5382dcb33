"""The promise of the whole: outputs do not depend on the driver, nor on where a run starts."""

import random

import numpy as np
import pytest

from qmtl.indicators import ema, rsi, sma
from qmtl.interval import parse_interval
from qmtl.sdk import Node, Runner, Strategy, StreamInput
from qmtl.sdk.trade import target_position
from qmtl.transforms import resample, rolling_std

FILES = {"ETH-BTC-5m.parquet": ("5m", "1h"), "USDJPY-1m-gaps.parquet": ("1m", "5m")}


def spread(view):
    window = view.array("price", "close")
    return {"range": float(window.max() - window.min()), "last": float(window[-1])}


def strategy(interval, longer):
    class Cross(Strategy):
        def setup(self):
            price = StreamInput(tags=["price"], interval=interval, name="price")
            fast, slow = sma(price.close, 20, name="fast"), sma(price.close, 50, name="slow")
            long = resample(price, longer, name="long")
            self.add_nodes([
                price, fast, slow, long, ema(long.close, 5, name="trend"), rsi(price.close, 14, name="rsi"),
                rolling_std(price.close, 30, name="noise"),
                Node(input={"price": price}, compute_fn=spread, period=30, name="spread"),
                target_position(fast > slow, price=price, size=1.0, name="position"),
            ])  # fmt: skip

        def define_execution(self):
            self.set_target("position")

    return Cross


def same_bits(whole, part, start):
    """Equal from the first output that the later run has; and it has one as soon as it is warm."""
    for name in whole.outputs:
        a, b = whole.outputs[name], part.outputs[name]
        a = a[a.index >= start]
        assert a.index.equals(b.index), name
        assert all(np.array_equal(a[c].to_numpy().view(np.int64), b[c].to_numpy().view(np.int64)) for c in a), name


@pytest.mark.numeric
@pytest.mark.determinism
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("on_missing", ["skip", "fill"])
def test_batch_and_stream_from_any_start_give_the_same_bits(file, on_missing, real_data):
    interval, longer = FILES[file]
    chosen, options = strategy(interval, longer), {"data": {"price": real_data(file)}, "on_missing": on_missing}
    whole = Runner.backtest(chosen, **options)
    streamed = Runner.backtest(chosen, engine="stream", **options)
    same_bits(whole, streamed, 0)
    assert whole.equity["equity"].equals(streamed.equity["equity"])
    ts = whole.outputs["price"].index.to_numpy()
    seconds = parse_interval(interval)
    randomly = random.Random(7)
    for turn in range(10):
        start = int(ts[randomly.randrange(len(ts) // 3, len(ts) - 100)]) // seconds * seconds
        engine = "stream" if turn % 2 else "batch"
        same_bits(whole, Runner.backtest(chosen, start_time=start, engine=engine, **options), start)
