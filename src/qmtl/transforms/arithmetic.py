"""Arithmetic, comparisons and logic of one bar; Python syntax on nodes builds these.

Truth is 1.0 and 0.0; NaN means "not known" and goes through all of them.
"""

import math

from qmtl.graph.operator import operator

_PAIR = ("a", "b")


@operator(kind="pointwise", inputs=_PAIR)
def add(x, p):
    """Sum ``a + b`` at each bar."""
    return x[0] + x[1]


@operator(kind="pointwise", inputs=_PAIR)
def subtract(x, p):
    """Difference ``a - b`` at each bar."""
    return x[0] - x[1]


@operator(kind="pointwise", inputs=_PAIR)
def multiply(x, p):
    """Product ``a * b`` at each bar."""
    return x[0] * x[1]


@operator(kind="pointwise", inputs=_PAIR)
def divide(x, p):
    """Quotient ``a / b`` at each bar; NaN where ``b`` is 0."""
    return x[0] / x[1] if x[1] != 0.0 else math.nan


@operator(kind="pointwise", inputs=_PAIR)
def less(x, p):
    """1 where ``a < b``, else 0; NaN where either is NaN."""
    return math.nan if math.isnan(x[0]) or math.isnan(x[1]) else 1.0 if x[0] < x[1] else 0.0


@operator(kind="pointwise", inputs=_PAIR)
def less_equal(x, p):
    """1 where ``a <= b``, else 0; NaN where either is NaN."""
    return math.nan if math.isnan(x[0]) or math.isnan(x[1]) else 1.0 if x[0] <= x[1] else 0.0


@operator(kind="pointwise", inputs=_PAIR)
def both(x, p):
    """1 where ``a`` and ``b`` are both non-zero, else 0; NaN where either is NaN."""
    return math.nan if math.isnan(x[0]) or math.isnan(x[1]) else 1.0 if x[0] != 0.0 and x[1] != 0.0 else 0.0


@operator(kind="pointwise", inputs=_PAIR)
def either(x, p):
    """1 where ``a`` or ``b`` is non-zero, else 0; NaN where either is NaN."""
    return math.nan if math.isnan(x[0]) or math.isnan(x[1]) else 1.0 if x[0] != 0.0 or x[1] != 0.0 else 0.0


@operator(kind="pointwise", inputs=("a",))
def negate(x, p):
    """1 where ``a`` is 0, 0 where it is not; NaN where it is NaN."""
    return math.nan if math.isnan(x[0]) else 1.0 if x[0] == 0.0 else 0.0
