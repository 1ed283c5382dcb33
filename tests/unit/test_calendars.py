import numpy as np
import pytest

from qmtl.calendars import Calendar
from qmtl.errors import UnknownNameError
from qmtl.interval import Span, parse_time

HOUR = 3600


def test_a_market_that_never_closes_explains_no_gap():
    ts = np.array([0, 60, 240], dtype=np.int64)
    assert Calendar("24/7").gaps(ts, 60, Span(0, 300)) == [Span(120, 240)]
    assert Calendar().periods_per_year == 365


def test_a_scheduled_closure_is_no_gap():
    # New York, Monday 3 and Tuesday 4 January 2022: open 14:30 to 21:00 UTC.
    start, end = parse_time("2022-01-03"), parse_time("2022-01-05")
    calendar = Calendar("XNYS")
    buckets = np.arange(start, end, 1800, dtype=np.int64)
    opened = buckets[calendar.open_mask(buckets, 1800)]
    assert len(opened) == 2 * 13
    assert calendar.gaps(opened, 1800, Span(start, end)) == []
    missing_one = np.delete(opened, 3)
    assert calendar.gaps(missing_one, 1800, Span(start, end)) == [Span(int(opened[3]), int(opened[3]) + 1800)]
    assert calendar.periods_per_year == 252


def test_a_bar_that_only_touches_the_session_is_open():
    calendar = Calendar("XNYS")
    start = parse_time("2022-01-03T13:00")
    buckets = np.array([start, start + HOUR, start + 8 * HOUR], dtype=np.int64)  # 13:00, 14:00 (opens 14:30), 21:00
    assert calendar.open_mask(buckets, HOUR).tolist() == [False, True, False]


def test_the_weekend_of_a_foreign_exchange_month_is_a_closure(real_data):
    import pyarrow.parquet as pq

    ts = pq.read_table(real_data("USDJPY-1m-gaps.parquet"))["ts"].to_numpy()
    span = Span(int(ts[0]), int(ts[-1]) + 60)
    always, week = (sum(map(len, Calendar(name).gaps(ts, 60, span))) // 60 for name in ("24/7", "24/5"))
    assert (always, week) == (11_560, 519)


def test_an_unknown_calendar_has_a_neighbour():
    with pytest.raises(UnknownNameError, match="XNYS"):
        Calendar("XNSY")
