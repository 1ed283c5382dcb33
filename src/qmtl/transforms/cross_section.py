"""Operators over the symbols of one bar; a symbol that is NaN takes no part and stays NaN."""

import math

from qmtl.graph.operator import operator


@operator(kind="cross_section")
def rank(x, p, out):
    """Rank among the symbols, ascending, from 0 to 1; equal values share their mean rank.

    One symbol alone has rank 0.5.
    """
    size = x.shape[1]
    for s in range(size):
        here = x[0, s]
        if math.isnan(here):
            out[0, s] = math.nan
            continue
        below, equal, count = 0, 0, 0
        for other in range(size):
            value = x[0, other]
            if not math.isnan(value):
                count += 1
                if value < here:
                    below += 1
                elif value == here:
                    equal += 1
        out[0, s] = (below + 0.5 * (equal - 1)) / (count - 1) if count > 1 else 0.5


@operator(kind="cross_section")
def zscore(x, p, out):
    """Distance from the mean of the symbols in population standard deviations; 0 where all are equal."""
    size = x.shape[1]
    count, mean = 0, 0.0
    for s in range(size):
        if not math.isnan(x[0, s]):
            count += 1
            mean += x[0, s]
    mean = mean / count if count > 0 else math.nan
    square = 0.0
    for s in range(size):
        if not math.isnan(x[0, s]):
            distance = x[0, s] - mean  # a product, not a power: compiled and interpreted powers differ in the last bit
            square += distance * distance
    deviation = math.sqrt(square / count) if count > 0 else math.nan
    for s in range(size):
        if math.isnan(x[0, s]):
            out[0, s] = math.nan
        else:
            out[0, s] = (x[0, s] - mean) / deviation if deviation > 0.0 else 0.0
