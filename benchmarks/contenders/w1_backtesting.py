"""W1 in backtesting.py."""

from __future__ import annotations

import pandas as pd
from backtesting import Backtest, Strategy
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars


def mean(values: pd.Series, period: int) -> pd.Series:
    """Sliding mean, NaN while the window is not full."""
    return pd.Series(values).rolling(period).mean()


class Cross(Strategy):
    """Long one unit while the fast mean is above the slow one."""

    def init(self) -> None:
        """Compute both means."""
        self.fast = self.I(mean, self.data.Close, FAST, plot=False)
        self.slow = self.I(mean, self.data.Close, SLOW, plot=False)

    def next(self) -> None:
        """Enter or leave at the next open."""
        above = self.fast[-1] > self.slow[-1]
        if above and not self.position:
            self.buy(size=1)
        elif not above and self.position:
            self.position.close()


data = bars()
frame = pd.DataFrame(
    {"Open": data.open, "High": data.high, "Low": data.low, "Close": data.close, "Volume": data.volume},
    index=pd.to_datetime(data.ts, unit="s"),
)


def backtest() -> pd.Series:
    """Statistics of the run, as backtesting.py gives them."""
    return Backtest(frame, Cross, cash=CASH, commission=FEE).run()


keep_pace(
    backtest,
    lambda out: {
        "equity": float(out["Equity Final [$]"]),
        "fills": 2 * len(out["_trades"]) + len(out["_strategy"].trades),
    },
    packages=("backtesting", "pandas"),
)
