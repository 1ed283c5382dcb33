"""Moving averages."""

import math

from qmtl.graph.operator import Param, operator
from qmtl.transforms.rolling import _PERIOD, _period, _sum, _value

#: What a recursive average has forgotten at the end of its window, relative.
FORGOTTEN = Param(float, 1e-6, minimum=1e-15)


def bars_to_forget(alpha, forgotten):
    """Return the bars after which a weight of ``(1 - alpha) ** bars`` is below ``forgotten``.

    Examples
    --------
    >>> bars_to_forget(2 / 21, 1e-6)
    139
    """
    return 1 if alpha >= 1.0 else math.ceil(math.log(forgotten) / math.log(1.0 - alpha))


def _ema_window(p):
    return p["window"] or p["period"] + bars_to_forget(2.0 / (p["period"] + 1.0), p["forgotten"])


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_sum)
def sma(agg, p):
    """Simple moving average of the last ``period`` values (TA-Lib ``SMA``).

    Examples
    --------
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import StreamInput
    >>> sma(StreamInput(tags=["BTC"], interval="1m").close, 20).period
    20
    """
    return agg[0] / p[0]


@operator(
    kind="recursive",
    window=_ema_window,
    state=3,
    params={"period": Param(int, minimum=1), "forgotten": FORGOTTEN, "window": Param(int, None, minimum=1)},
)
def ema(state, x, p):
    """Exponential moving average, seeded by a simple average (TA-Lib ``EMA``).

    ``ema += 2 / (period + 1) * (x - ema)``; restarted ``window`` bars before each absolute block, by
    default so far back that less than ``forgotten`` of the seed is left.
    """
    n = p[0]
    count, seed, mean = state[0] + 1.0, state[1], state[2]
    if count <= n:
        seed += x[0]
        mean = seed / count
    else:
        mean += 2.0 / (n + 1.0) * (x[0] - mean)
    return (count, seed, mean), mean
