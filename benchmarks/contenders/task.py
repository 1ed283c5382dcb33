"""The work that all contenders do, as numbers, and the bars that they do it on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FAST, SLOW = 20, 50
"""W1: hold one unit while the fast mean of the closes is above the slow one."""
FEE = 0.001
"""Fee of a fill, fraction of its notional."""
CASH = 1_000_000.0

EMA, RSI, SMA = 20, 14, 50
OVERBOUGHT = 70.0
"""W2: hold one unit while ema > sma and rsi < overbought."""

FASTS, SLOWS = range(5, 25, 2), range(30, 80, 5)
"""W4: a strategy for each pair of means; all read the same relative strength."""
RATE = 1_000.0
"""W4: bars a second."""
SETTLED = 500
"""W4: bars after which what began differently is the same; those before are not looked at."""

WINDOW = 50
"""W6: bars in the window of the user's function."""


@dataclass(frozen=True)
class Bars:
    """Columns of one market, each ``[bars]``; `ts` in s UTC."""

    ts: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray


def bars() -> Bars:
    """Bars in the directory named by the first argument of the process."""
    home = Path(sys.argv[1])
    return Bars(*(np.load(home / f"{name}.npy") for name in Bars.__dataclass_fields__))


def variant(default: str) -> str:
    """Second argument of the process, or `default`."""
    return sys.argv[2] if len(sys.argv) > 2 else default


def change(window: np.ndarray) -> float:
    """W6: what the user's function computes from its window."""
    return float(window[-1] - window[0])
