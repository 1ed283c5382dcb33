"""Seeded markets: reproducible bars for a stream or as a history, equal for everybody who asks."""

from qmtl.generators.gbm import gbm
from qmtl.generators.market import Market
from qmtl.generators.ohlcv import ohlcv_from_path

__all__ = ["Market", "gbm", "ohlcv_from_path"]
