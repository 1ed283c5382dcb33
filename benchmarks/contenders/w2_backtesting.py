"""W2 in backtesting.py: indicators over the whole array, then one Python call per bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from pace import keep_pace
from task import CASH, EMA, OVERBOUGHT, RSI, SMA, bars


def relative_strength(close: pd.Series) -> pd.Series:
    """Relative strength, smoothed as by Wilder."""
    change = pd.Series(close).diff().fillna(0.0)
    gain = change.clip(lower=0.0).ewm(alpha=1.0 / RSI, adjust=False).mean()
    loss = (-change).clip(lower=0.0).ewm(alpha=1.0 / RSI, adjust=False).mean()
    return 100.0 * gain / (gain + loss)


class Chain(Strategy):
    """Long one unit while the exponential mean is above the plain one and the market is not overbought."""

    def init(self) -> None:
        """Compute the indicators."""
        close = self.data.Close
        self.ema = self.I(lambda x: pd.Series(x).ewm(span=EMA, adjust=False).mean(), close, plot=False, name="ema")
        self.sma = self.I(lambda x: pd.Series(x).rolling(SMA).mean(), close, plot=False, name="sma")
        self.rsi = self.I(relative_strength, close, plot=False, name="rsi")
        self.bars_long = 0

    def next(self) -> None:
        """Enter or leave at the next open."""
        long = self.ema[-1] > self.sma[-1] and self.rsi[-1] < OVERBOUGHT
        self.bars_long += bool(long)
        if long and not self.position:
            self.buy(size=1)
        elif not long and self.position:
            self.position.close()


data = bars()
frame = pd.DataFrame(
    {"Open": data.open, "High": data.high, "Low": data.low, "Close": data.close, "Volume": np.ones(data.ts.size)},
    index=pd.to_datetime(data.ts, unit="s"),
)


def backtest() -> pd.Series:
    """Statistics of the run, as backtesting.py gives them."""
    return Backtest(frame, Chain, cash=CASH).run()


keep_pace(backtest, lambda out: {"bars_long": out["_strategy"].bars_long}, packages=("backtesting", "pandas"))
