"""Statistics of the last ``period`` bars, by anchored sliding aggregation: O(1) a bar, no drift."""

import math

from qmtl.graph.operator import Param, operator

_PERIOD = {"period": Param(int, minimum=1)}


def _period(p):
    return p["period"]


def _value(x, p, agg):
    agg[0] = x[0]


def _sum(a, b, out):
    out[0] = a[0] + b[0]


def _min(a, b, out):
    out[0] = a[0] if a[0] < b[0] or math.isnan(a[0]) else b[0]


def _max(a, b, out):
    out[0] = a[0] if a[0] > b[0] or math.isnan(a[0]) else b[0]


def _moments(x, p, agg):
    agg[0] = 1.0
    agg[1] = x[0]
    agg[2] = 0.0


def _merge_moments(a, b, out):
    """Merge count, mean and sum of squared deviations (Chan, Golub and LeVeque, 1979)."""
    n = a[0] + b[0]
    delta = b[1] - a[1]
    out[0] = n
    out[1] = a[1] + delta * (b[0] / n)
    out[2] = a[2] + b[2] + delta * delta * (a[0] * b[0] / n)


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_sum)
def rolling_mean(agg, p, out):
    """Arithmetic mean of the last ``period`` values."""
    out[0] = agg[0] / p[0]


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_min)
def rolling_min(agg, p, out):
    """Smallest of the last ``period`` values; NaN while one of them is NaN."""
    out[0] = agg[0]


@operator(kind="fold", params=_PERIOD, window=_period, state=1, lift=_value, merge=_max)
def rolling_max(agg, p, out):
    """Largest of the last ``period`` values; NaN while one of them is NaN."""
    out[0] = agg[0]


@operator(
    kind="fold", params={"period": Param(int, minimum=1), "ddof": Param(int, 1, minimum=0)}, window=_period, state=3,
    lift=_moments, merge=_merge_moments,
)
def rolling_std(agg, p, out):
    """Standard deviation of the last ``period`` values; ``ddof=1`` is the sample, 0 the population.

    NaN where ``period <= ddof``.
    """
    out[0] = math.sqrt(agg[2] / (agg[0] - p[1])) if agg[0] > p[1] else math.nan
