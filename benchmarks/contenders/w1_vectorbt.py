"""W1 as a vectorbt user writes it: MA, signals, portfolio, value."""

from __future__ import annotations

import pandas as pd
import vectorbt as vbt
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars


def backtest(open_: pd.Series, close: pd.Series) -> tuple[vbt.Portfolio, pd.Series]:
    """Portfolio, and its equity at each close."""
    fast, slow = vbt.MA.run(close, FAST), vbt.MA.run(close, SLOW)
    entries = fast.ma_above(slow).vbt.signals.fshift(1)
    exits = fast.ma_below(slow).vbt.signals.fshift(1)
    portfolio = vbt.Portfolio.from_signals(
        close, entries, exits, price=open_, size=1.0, fees=FEE, init_cash=CASH, freq="1min"
    )
    return portfolio, portfolio.value()


data = bars()
# Without a zone: with one, vectorbt under pandas 3 turns the index into a million objects at every step, 100 x slower.
index = pd.to_datetime(data.ts, unit="s")
open_, close = pd.Series(data.open, index), pd.Series(data.close, index)
keep_pace(
    lambda: backtest(open_, close),
    lambda out: {"equity": float(out[1].iloc[-1]), "fills": int(out[0].orders.count())},
    packages=("vectorbt", "numba", "pandas"),
)
