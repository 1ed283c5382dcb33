"""Statistics of the last ``period`` bars, by anchored sliding aggregation: O(1) a bar, no drift."""

import math

from qmtl.graph.operator import Param, operator

_PERIOD = {"period": Param(int, minimum=1)}


def _period(p):
    return p["period"]


def _value(x, p):
    return (x[0],)


def _sum(a, b):
    return (a[0] + b[0],)


def _min(a, b):
    return (a[0] if a[0] < b[0] or math.isnan(a[0]) else b[0],)


def _max(a, b):
    return (a[0] if a[0] > b[0] or math.isnan(a[0]) else b[0],)


def _moments(x, p):
    return 1.0, x[0], x[0] - x[0]


def _merge_moments(a, b):
    """Merge count, mean and sum of squared deviations (Chan, Golub and LeVeque, 1979)."""
    n = a[0] + b[0]
    delta = b[1] - a[1]
    return n, a[1] + delta * (b[0] / n), a[2] + b[2] + delta * delta * (a[0] * b[0] / n)


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_sum)
def rolling_mean(agg, p):
    """Arithmetic mean of the last ``period`` values."""
    return agg[0] / p[0]


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_min)
def rolling_min(agg, p):
    """Smallest of the last ``period`` values; NaN while one of them is NaN."""
    return agg[0]


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_max)
def rolling_max(agg, p):
    """Largest of the last ``period`` values; NaN while one of them is NaN."""
    return agg[0]


@operator(
    kind="fold",
    params={"period": Param(int, minimum=1), "ddof": Param(int, 1, minimum=0)},
    window=_period,
    state=3,
    lift=_moments,
    merge=_merge_moments,
)
def rolling_std(agg, p):
    """Standard deviation of the last ``period`` values; ``ddof=1`` is the sample, 0 the population.

    NaN where ``period <= ddof``.
    """
    return math.sqrt(agg[2] / (agg[0] - p[1])) if agg[0] > p[1] else math.nan
