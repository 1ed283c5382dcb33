"""W1 as one lazy polars query."""

from __future__ import annotations

import polars as pl
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars


def backtest(frame: pl.DataFrame) -> pl.DataFrame:
    """Equity at each close, and the traded units at each open."""
    close, notional = pl.col("close"), pl.col("trade") * pl.col("open")
    above = close.rolling_mean(FAST) > close.rolling_mean(SLOW)
    return (
        frame.lazy()
        .with_columns(position=above.cast(pl.Float64).shift(1).fill_null(0.0))
        .with_columns(trade=pl.col("position").diff().fill_null(0.0))
        .with_columns(cash=CASH - (notional + notional.abs() * FEE).cum_sum())
        .select("trade", equity=pl.col("cash") + pl.col("position") * close)
        .collect()
    )


data = bars()
frame = pl.DataFrame({"open": data.open, "close": data.close})
keep_pace(
    lambda: backtest(frame),
    lambda out: {"equity": out["equity"][-1], "fills": int((out["trade"] != 0.0).sum())},
    packages=("polars",),
)
