"""W1 by hand in numpy: running sums, shifts, cumulative cash."""

from __future__ import annotations

import numpy as np
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars


def mean(values: np.ndarray, period: int) -> np.ndarray:
    """Sliding mean, NaN while the window is not full."""
    total = np.cumsum(values)
    out = np.full(values.size, np.nan)
    out[period - 1] = total[period - 1] / period
    out[period:] = (total[period:] - total[:-period]) / period
    return out


def backtest(open_: np.ndarray, close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equity at each close, and the traded units at each open."""
    target = (mean(close, FAST) > mean(close, SLOW)).astype(np.float64)
    position = np.concatenate(([0.0], target[:-1]))
    trade = np.diff(position, prepend=0.0)
    notional = trade * open_
    cash = CASH - np.cumsum(notional + np.abs(notional) * FEE)
    return cash + position * close, trade


data = bars()
keep_pace(
    lambda: backtest(data.open, data.close),
    lambda out: {"equity": float(out[0][-1]), "fills": int(np.count_nonzero(out[1]))},
    packages=("numpy",),
)
