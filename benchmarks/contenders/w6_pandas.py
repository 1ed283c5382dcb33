"""W6 the slow way: the user's function gets a DataFrame of the last bars, cut anew at every bar."""

from __future__ import annotations

import pandas as pd
from pace import keep_pace
from task import WINDOW, bars


def change(window: pd.DataFrame) -> float:
    """The same change, read from a frame."""
    close = window["close"]
    return float(close.iloc[-1] - close.iloc[0])


def run(frame: pd.DataFrame) -> list[float]:
    """What the function gave, one per full window."""
    return [change(frame.iloc[i - WINDOW : i]) for i in range(WINDOW, len(frame) + 1)]


data = bars()
frame = pd.DataFrame({"open": data.open, "high": data.high, "low": data.low, "close": data.close}, index=data.ts)
keep_pace(lambda: run(frame), lambda out: {"sum": sum(out)}, packages=("pandas",))
