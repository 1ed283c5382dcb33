"""Operators that compare a bar with earlier ones."""

import math

from qmtl.graph.operator import Param, operator

_PERIODS = {"periods": Param(int, 1, minimum=1)}


def _with_current(p):
    return p["periods"] + 1


@operator(kind="window", params=_PERIODS, window=_with_current)
def lag(w, p):
    """Value ``periods`` bars ago.

    Examples
    --------
    >>> from qmtl.sdk import StreamInput
    >>> from qmtl.transforms import lag
    >>> lag(StreamInput(tags=["BTC"], interval="1m").close, 3).period
    4
    """
    return w[0, 0]


@operator(kind="window", params=_PERIODS, window=_with_current)
def log_return(w, p):
    """Logarithm of the value over the value ``periods`` bars ago; NaN where either is not positive."""
    now, then = w[0, w.shape[1] - 1], w[0, 0]
    return math.log(now / then) if now > 0.0 and then > 0.0 else math.nan


@operator(kind="window", inputs=("a", "b"), window=lambda p: 2)
def crossover(w, p):
    """1 at the bar where ``a`` goes from at most ``b`` to above it, -1 at the reverse, else 0."""
    before, now = w[0, 0] - w[1, 0], w[0, 1] - w[1, 1]
    if math.isnan(before) or math.isnan(now):
        return math.nan
    if before <= 0.0 and now > 0.0:
        return 1.0
    return -1.0 if before >= 0.0 and now < 0.0 else 0.0
