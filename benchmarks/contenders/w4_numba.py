"""W4 floor: all strategies as one compiled step, called once per bar."""

from __future__ import annotations

import numpy as np
from numba import njit
from pace import keep_pace, paced, service
from task import FASTS, OVERBOUGHT, RATE, RSI, SETTLED, SLOWS, bars

SEEN, LAST, GAIN, LOSS = range(4)
fasts, slows = np.array(FASTS), np.array(SLOWS)


@njit(cache=False)
def step(state: np.ndarray, emas: np.ndarray, sums: np.ndarray, ring: np.ndarray, close: float, out: np.ndarray) -> int:
    """Number of strategies that are long after one more close; all arrays are updated in place."""
    seen = int(state[SEEN])
    change = close - state[LAST] if seen else 0.0
    weight = 1.0 / RSI if seen > RSI else 1.0 / max(seen, 1)
    state[GAIN] += (max(change, 0.0) - state[GAIN]) * weight
    state[LOSS] += (max(-change, 0.0) - state[LOSS]) * weight
    state[SEEN], state[LAST] = seen + 1, close
    for k in range(fasts.size):
        emas[k] += close / fasts[k] if seen < fasts[k] else (close - emas[k]) * (2.0 / (fasts[k] + 1))
    for k in range(slows.size):
        sums[k] += close - ring[(seen - slows[k]) % ring.size]
    ring[seen % ring.size] = close
    calm, count = 100.0 * state[GAIN] < OVERBOUGHT * (state[GAIN] + state[LOSS]), 0
    for k in range(fasts.size):
        for j in range(slows.size):
            out[k, j] = calm and emas[k] > sums[j] / slows[j]
            count += out[k, j]
    return count


def live() -> tuple[list[int], int]:
    """Nanoseconds of each bar, and how many bars all strategies were long together."""
    state, emas, sums, ring = np.zeros(4), np.zeros(fasts.size), np.zeros(slows.size), np.zeros(slows[-1] + 1)
    out, long = np.zeros((fasts.size, slows.size), np.int64), []
    taken = paced(values, lambda close: long.append(step(state, emas, sums, ring, close, out)), RATE)
    return taken[SETTLED:], sum(long[SETTLED:])


values = bars().close.tolist()
keep_pace(live, lambda made: {"long": made[1]}, packages=("numba", "numpy"), tell=lambda made: service(made[0]))
