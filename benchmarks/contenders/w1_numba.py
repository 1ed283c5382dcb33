"""W1 floor: one fused loop, written for this task alone."""

from __future__ import annotations

import numpy as np
from numba import njit
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars


@njit(cache=False)
def backtest(open_: np.ndarray, close: np.ndarray, fast: int, slow: int, fee: float, cash: float) -> tuple:
    """Equity at each close, and the number of fills."""
    equity = np.empty(close.size)
    fast_sum = slow_sum = position = target = 0.0
    fills = 0
    for i in range(close.size):
        if target != position:
            trade = target - position
            cash -= trade * open_[i] + abs(trade) * open_[i] * fee
            position = target
            fills += 1
        fast_sum += close[i]
        slow_sum += close[i]
        if i >= fast:
            fast_sum -= close[i - fast]
        if i >= slow:
            slow_sum -= close[i - slow]
        if i >= slow - 1:
            target = 1.0 if fast_sum / fast > slow_sum / slow else 0.0
        equity[i] = cash + position * close[i]
    return equity, fills


data = bars()
keep_pace(
    lambda: backtest(data.open, data.close, FAST, SLOW, FEE, CASH),
    lambda out: {"equity": float(out[0][-1]), "fills": int(out[1])},
    packages=("numba", "numpy"),
)
