"""Geometric Brownian motion."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from qmtl.errors import UsageError
from qmtl.generators.brownian import BLOCK, brownian
from qmtl.generators.market import Market
from qmtl.interval import parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

_YEAR = 365 * 86_400


def gbm(
    *,
    seed: int = 1,
    price: float = 100.0,
    volatility: float = 0.5,
    drift: float = 0.0,
    start: int | str | datetime = "2020-01-01",
    end: int | str | datetime | None = None,
    step: int = 15,
) -> Market:
    """Return a market of independent normal log-returns: ``d ln S = (drift - volatility² / 2) dt + volatility dW``.

    Every bar is a function of the parameters and its time, so that everybody who asks gets the same bits, from any
    bucket on, and bars of 5 minutes are those of 1 minute put together.

    Parameters
    ----------
    seed : int
        Equal seeds, equal prices; at least 0.
    price : float
        At the start.
    volatility, drift : float
        Of a year of 365 days: 0.5 is 50 %.
    start, end : int, str or datetime
        Where it begins and ends; without an end it goes on for ever.
    step : int
        Seconds between two prices; highs and lows are seen at steps only.

    Raises
    ------
    UsageError
        A parameter that makes no sense.

    Examples
    --------
    >>> from qmtl.interval import Span
    >>> bars = gbm(seed=7, price=100, start=0).bars(60, Span(0, 180))
    >>> bars.ts.tolist(), float(bars.columns["open"][0, 0])
    ([0, 60, 120], 100.0)
    """
    _check(seed, price, volatility, step)
    origin = -(-parse_time(start) // step)
    dt = step / _YEAR
    slope, scale = (drift - volatility**2 / 2) * dt, volatility * np.sqrt(dt)

    def path(first: int, last: int) -> NDArray[np.float64]:
        # Whole blocks, then the part: an exponential may differ in its last bit with the place in an array.
        low, high = (first - origin) // BLOCK * BLOCK, -(-(last + 1 - origin) // BLOCK) * BLOCK
        log = slope * np.arange(low, high) + scale * brownian(seed, low, high - 1)
        made: NDArray[np.float64] = price * np.exp(log)
        return made[first - origin - low : last + 1 - origin - low]

    return Market(path, origin * step, None if end is None else parse_time(end), step)


def _check(seed: int, price: float, volatility: float, step: int) -> None:
    if seed < 0 or step < 1 or not (price > 0 and volatility >= 0):
        raise UsageError(
            f"gbm(seed={seed}, price={price}, volatility={volatility}, step={step}) makes no sense",
            hint="the seed is at least 0, the price positive, the volatility at least 0, the step at least 1 s",
        )
