"""W2 in csp, three ways.

`cpp`: composed of the C++ nodes that csp comes with, as its users do; `exprtk`: what has no node of its own
fused by hand into expressions, which one C++ node runs; `python`: one Python node per step of the chain.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import csp
import numpy as np
from csp import stats, ts
from pace import keep_pace
from task import EMA, OVERBOUGHT, RSI, SMA, bars, variant

RSI_STEP = """
var change := if(seen > 0, c - last, 0);
var weight := if(seen > period, 1 / period, 1 / max(seen, 1));
gain += (max(change, 0) - gain) * weight;
loss += (max(-change, 0) - loss) * weight;
last := c;
seen += 1;
if(gain + loss > 0, 100 * gain / (gain + loss), 50);
"""


@csp.graph
def cpp(times: object, closes: object) -> ts[bool]:
    """Position at each close."""
    c = csp.curve(float, (times, closes))
    change, zero = csp.diff(c, 1), csp.const(0.0)
    gain = stats.ema(csp.max(change, zero), alpha=1.0 / RSI, adjust=False)
    loss = stats.ema(csp.max(-change, zero), alpha=1.0 / RSI, adjust=False)
    ema, sma = stats.ema(c, span=EMA, adjust=False), stats.mean(c, SMA, SMA)
    return csp.and_(ema > sma, 100.0 * gain / (gain + loss) < OVERBOUGHT)


@csp.graph
def exprtk(times: object, closes: object) -> ts[float]:
    """Position at each close."""
    c = csp.curve(float, (times, closes))
    rsi = csp.exprtk(
        RSI_STEP,
        {"c": c},
        state_vars={"seen": 0.0, "last": 0.0, "gain": 0.0, "loss": 0.0},
        constants={"period": float(RSI)},
    )
    inputs = {"ema": stats.ema(c, span=EMA, adjust=False), "sma": stats.mean(c, SMA, SMA), "rsi": rsi}
    return csp.exprtk("if(ema > sma and rsi < limit, 1, 0)", inputs, constants={"limit": OVERBOUGHT}, trigger=c)


@csp.node
def ema_node(c: ts[float], period: int) -> ts[float]:
    """Exponential mean."""
    with csp.state():
        s_value = 0.0
        s_seen = 0
    if csp.ticked(c):
        s_value += c / period if s_seen < period else (c - s_value) * (2.0 / (period + 1))
        s_seen += 1
        if s_seen >= period:
            return s_value


@csp.node
def sma_node(c: ts[float], period: int) -> ts[float]:
    """Sliding mean."""
    with csp.state():
        s_total = 0.0
        s_ring = [0.0] * period
        s_seen = 0
    if csp.ticked(c):
        slot = s_seen % period
        s_total += c - s_ring[slot]
        s_ring[slot] = c
        s_seen += 1
        if s_seen >= period:
            return s_total / period


@csp.node
def rsi_node(c: ts[float], period: int) -> ts[float]:
    """Relative strength."""
    with csp.state():
        s_last = 0.0
        s_gain = 0.0
        s_loss = 0.0
        s_seen = 0
    if csp.ticked(c):
        change = c - s_last if s_seen else 0.0
        weight = 1.0 / period if s_seen > period else 1.0 / max(s_seen, 1)
        s_gain += (max(change, 0.0) - s_gain) * weight
        s_loss += (max(-change, 0.0) - s_loss) * weight
        s_last = c
        s_seen += 1
        if s_seen > period:
            return 100.0 * s_gain / (s_gain + s_loss)


@csp.node
def position_node(c: ts[float], ema: ts[float], sma: ts[float], rsi: ts[float], limit: float) -> ts[float]:
    """Position from the three."""
    if csp.ticked(c) and csp.valid(ema, sma, rsi):
        return 1.0 if ema > sma and rsi < limit else 0.0


@csp.graph
def python(times: object, closes: object) -> ts[float]:
    """Position at each close."""
    c = csp.curve(float, (times, closes))
    return position_node(c, ema_node(c, EMA), sma_node(c, SMA), rsi_node(c, RSI), OVERBOUGHT)


data = bars()
times = data.ts.astype("datetime64[s]").astype("datetime64[ns]")
first = datetime.utcfromtimestamp(int(data.ts[0]))
span = timedelta(seconds=int(data.ts[-1] - data.ts[0]))
graph = {"cpp": cpp, "exprtk": exprtk, "python": python}[variant("cpp")]


def stream() -> np.ndarray:
    """Position at each close."""
    return csp.run(graph, times, data.close, starttime=first, endtime=span, output_numpy=True)[0][1]


keep_pace(stream, lambda position: {"bars_long": int(np.nansum(position))}, packages=("csp",))
