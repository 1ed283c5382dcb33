"""Technical indicators, by TA-Lib's conventions, each with a bounded and anchored memory."""

from qmtl.indicators.averages import ema, sma
from qmtl.indicators.momentum import macd, rsi

__all__ = ["ema", "macd", "rsi", "sma"]
