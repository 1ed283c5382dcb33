"""Operators that turn bars into other bars: arithmetic, windows, cross-sections, longer bars."""

from qmtl.transforms.arithmetic import add, both, divide, either, less, less_equal, multiply, negate, subtract
from qmtl.transforms.cross_section import rank, zscore
from qmtl.transforms.lags import crossover, lag, log_return
from qmtl.transforms.resample import resample
from qmtl.transforms.rolling import rolling_max, rolling_mean, rolling_min, rolling_std

__all__ = [
    "add",
    "both",
    "crossover",
    "divide",
    "either",
    "lag",
    "less",
    "less_equal",
    "log_return",
    "multiply",
    "negate",
    "rank",
    "resample",
    "rolling_max",
    "rolling_mean",
    "rolling_min",
    "rolling_std",
    "subtract",
    "zscore",
]
