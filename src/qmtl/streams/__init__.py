"""Feeds: where the bars of streams come from while a strategy runs live."""

from qmtl.streams.disturbed import Disturbed
from qmtl.streams.faults import Faults, parse_faults
from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.generated import Generated
from qmtl.streams.pace import Pace, parse_speed
from qmtl.streams.recorded import Recorded

__all__ = ["Arrived", "Disturbed", "Faults", "Feed", "Generated", "Pace", "Recorded", "parse_faults", "parse_speed"]
