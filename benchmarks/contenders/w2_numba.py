"""W2 floor: the chain as one compiled step; `loop` runs it inside one call, `call` calls it once per event."""

from __future__ import annotations

import numpy as np
from numba import njit
from pace import keep_pace
from task import EMA, OVERBOUGHT, RSI, SMA, bars, variant

SEEN, EMA_NOW, LAST, GAIN, LOSS, TOTAL, LONG = range(7)


@njit(cache=False)
def step(state: np.ndarray, ring: np.ndarray, close: float) -> float:
    """Position after one more close; `state` and the `ring` of the last closes are updated in place."""
    seen = int(state[SEEN])
    change = close - state[LAST] if seen else 0.0
    if seen < EMA:
        state[EMA_NOW] += close / EMA
    else:
        state[EMA_NOW] += (close - state[EMA_NOW]) * (2.0 / (EMA + 1))
    weight = 1.0 / RSI if seen > RSI else 1.0 / max(seen, 1)
    state[GAIN] += (max(change, 0.0) - state[GAIN]) * weight
    state[LOSS] += (max(-change, 0.0) - state[LOSS]) * weight
    slot = seen % SMA
    state[TOTAL] += close - ring[slot]
    ring[slot] = close
    state[SEEN], state[LAST] = seen + 1, close
    if seen + 1 < SMA:
        return np.nan
    rsi = 100.0 * state[GAIN] / (state[GAIN] + state[LOSS])
    position = 1.0 if state[EMA_NOW] > state[TOTAL] / SMA and rsi < OVERBOUGHT else 0.0
    state[LONG] += position
    return position


@njit(cache=False)
def loop(close: np.ndarray) -> float:
    """Bars spent long."""
    state, ring = np.zeros(7), np.zeros(SMA)
    for i in range(close.size):
        step(state, ring, close[i])
    return state[LONG]


def call(close: list[float]) -> float:
    """Bars spent long, one call of compiled code per event."""
    state, ring = np.zeros(7), np.zeros(SMA)
    for value in close:
        step(state, ring, value)
    return state[LONG]


data = bars()
values = data.close.tolist()
way = variant("loop")
keep_pace(
    (lambda: loop(data.close)) if way == "loop" else (lambda: call(values)),
    lambda out: {"bars_long": int(out)},
    packages=("numba", "numpy"),
)
