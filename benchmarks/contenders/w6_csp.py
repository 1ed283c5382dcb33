"""W6 in csp: a Python node that reads the last bars as an array."""

from __future__ import annotations

from datetime import datetime, timedelta

import csp
import numpy as np
from csp import ts
from pace import keep_pace
from task import WINDOW, bars, change


@csp.node
def user(c: ts[float]) -> ts[float]:
    """The user's function on the last bars."""
    with csp.start():
        csp.set_buffering_policy(c, tick_count=WINDOW)
    if csp.ticked(c) and csp.num_ticks(c) >= WINDOW:
        return change(csp.values_at(c, -WINDOW + 1, 0))


@csp.graph
def chain(times: object, closes: object) -> ts[float]:
    """What the function gave, one per full window."""
    return user(csp.curve(float, (times, closes)))


data = bars()
times = data.ts.astype("datetime64[s]").astype("datetime64[ns]")
first = datetime.utcfromtimestamp(int(data.ts[0]))
span = timedelta(seconds=int(data.ts[-1] - data.ts[0]))


def run() -> np.ndarray:
    """What the function gave, one per full window."""
    return csp.run(chain, times, data.close, starttime=first, endtime=span, output_numpy=True)[0][1]


keep_pace(run, lambda out: {"sum": float(np.sum(out))}, packages=("csp",))
