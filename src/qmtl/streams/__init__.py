"""Feeds: where the bars of streams come from while a strategy runs live."""

from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.pace import Pace, parse_speed
from qmtl.streams.recorded import Recorded

__all__ = ["Arrived", "Feed", "Pace", "Recorded", "parse_speed"]
