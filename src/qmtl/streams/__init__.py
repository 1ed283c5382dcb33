"""Feeds: where the bars of streams come from while a strategy runs live."""

from qmtl.streams.feed import Feed
from qmtl.streams.recorded import Recorded

__all__ = ["Feed", "Recorded"]
