"""W1 in csp with C++ nodes only: the sliding means of csp.stats, the book-keeping in one exprtk node."""

from __future__ import annotations

from datetime import datetime, timedelta

import csp
import numpy as np
from csp import stats
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars

BOOK = """
if (target != position) {
    cash := cash - (target - position) * o - abs(target - position) * o * fee;
    position := target;
    fills += 1;
};
target := if(fast > slow, 1, 0);
cash + position * c;
"""


@csp.graph
def cross(times: object, open_: object, close: object) -> csp.ts[float]:
    """Equity at each close from the first full window on."""
    o, c = csp.curve(float, (times, open_)), csp.curve(float, (times, close))
    return csp.exprtk(
        BOOK,
        {"fast": stats.mean(c, FAST, FAST), "slow": stats.mean(c, SLOW, SLOW), "o": o, "c": c},
        state_vars={"target": 0.0, "position": 0.0, "cash": CASH, "fills": 0.0},
        constants={"fee": FEE},
        trigger=c,
    )


data = bars()
times = data.ts.astype("datetime64[s]").astype("datetime64[ns]")
first = datetime.utcfromtimestamp(int(data.ts[0]))


def backtest() -> np.ndarray:
    """Equity at each close."""
    span = timedelta(seconds=int(data.ts[-1] - data.ts[0]))
    return csp.run(cross, times, data.open, data.close, starttime=first, endtime=span, output_numpy=True)[0][1]


keep_pace(backtest, lambda equity: {"equity": float(equity[-1])}, packages=("csp",))
