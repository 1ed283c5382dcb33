"""Momentum indicators."""

import math

from qmtl.graph.operator import Param, operator
from qmtl.indicators.averages import FORGOTTEN, bars_to_forget


def _rsi_window(p):
    return p["window"] or p["period"] + 1 + bars_to_forget(1.0 / p["period"], p["forgotten"])


def _macd_window(p):
    slow = bars_to_forget(2.0 / (max(p["slow"], p["fast"]) + 1.0), p["forgotten"])
    smooth = bars_to_forget(2.0 / (p["signal"] + 1.0), p["forgotten"])
    return p["window"] or max(p["slow"], p["fast"]) + p["signal"] + slow + smooth


@operator(
    kind="recursive",
    window=_rsi_window,
    state=4,
    params={"period": Param(int, 14, minimum=2), "forgotten": FORGOTTEN, "window": Param(int, None, minimum=2)},
)
def rsi(state, x, p):
    """Relative strength index of Wilder, 0 to 100 (TA-Lib ``RSI``).

    Gains and losses are smoothed with weight ``1 / period`` after a seed of their simple averages;
    100 times gain over gain plus loss, 0 where nothing moved.
    """
    n = p[0]
    count, before, up, down = state
    if count == 0.0:
        return (1.0, x[0], 0.0, 0.0), math.nan
    change = x[0] - before
    gain = max(0.0, change)
    loss = 0.0 if change >= 0.0 else -change
    if count <= n:
        up += gain / n
        down += loss / n
    else:
        up = (up * (n - 1.0) + gain) / n
        down = (down * (n - 1.0) + loss) / n
    moved = up + down
    return (count + 1.0, x[0], up, down), 0.0 if moved == 0.0 else 100.0 * (up / moved)


@operator(
    kind="recursive",
    window=_macd_window,
    state=5,
    outputs=("macd", "signal", "histogram"),
    params={
        "fast": Param(int, 12, minimum=1),
        "slow": Param(int, 26, minimum=1),
        "signal": Param(int, 9, minimum=1),
        "forgotten": FORGOTTEN,
        "window": Param(int, None, minimum=1),
    },
)
def macd(state, x, p):
    """Moving average convergence and divergence (TA-Lib ``MACD``).

    ``macd`` is the fast less the slow exponential average, ``signal`` the exponential average of
    ``macd``, ``histogram`` their difference; all three seeded by simple averages, the fast one over
    the last ``fast`` bars of the slow one's seed.
    """
    fast, slow, smooth = min(p[0], p[1]), max(p[0], p[1]), p[2]
    count, far, near, seen, signal = state
    count += 1.0
    if count <= slow:
        far += x[0] / slow
        near += x[0] / fast if count > slow - fast else 0.0
    else:
        far += 2.0 / (slow + 1.0) * (x[0] - far)
        near += 2.0 / (fast + 1.0) * (x[0] - near)
    line = near - far
    if count >= slow:
        seen += 1.0
        signal += line / smooth if seen <= smooth else 2.0 / (smooth + 1.0) * (line - signal)
    return (count, far, near, seen, signal), (line, signal, line - signal)
