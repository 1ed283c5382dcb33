"""W6 floor: the user's function on a view of the last bars, in a plain Python loop."""

from __future__ import annotations

import numpy as np
from pace import keep_pace
from task import WINDOW, bars, change


def run(close: np.ndarray) -> list[float]:
    """What the function gave, one per full window."""
    return [change(close[i - WINDOW : i]) for i in range(WINDOW, close.size + 1)]


data = bars()
keep_pace(lambda: run(data.close), lambda out: {"sum": sum(out)}, packages=("numpy",))
