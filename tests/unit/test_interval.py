from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.errors import IntervalError
from qmtl.interval import Span, format_interval, format_time, merge, missing, parse_interval, parse_time, subtract


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("1m", 60),
        ("5m", 300),
        ("15m", 900),
        ("1h", 3600),
        ("4h", 14_400),
        ("1d", 86_400),
        ("1w", 604_800),
        (90, 90),
    ],
)
def test_intervals_are_seconds(text, seconds):
    assert parse_interval(text) == seconds
    assert parse_interval(format_interval(seconds)) == seconds


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("1M", "no fixed length"), (0, "not positive"), (-60, "not positive"), ("0m", "not positive"), ("1y", "unit"),
        ("m", "not an"), (1.5, "not an"), (True, "not an"), (None, "not an"),
    ],
)  # fmt: skip
def test_a_wrong_interval_says_why_and_what_to_give(wrong, says):
    with pytest.raises(IntervalError, match=says) as caught:
        parse_interval(wrong)
    assert caught.value.hint


def test_times_are_seconds_utc_whatever_the_form():
    first = 1_640_995_200
    forms = [first, str(first), "2022-01-01", "20220101", "2022-01-01T00:00:00Z", "2022-01-01T01:00+01:00"]
    forms += [datetime(2022, 1, 1, tzinfo=UTC), datetime(2022, 1, 1), np.int64(first)]  # noqa: DTZ001
    assert {parse_time(form) for form in forms} == {first}
    assert parse_time(format_time(first)) == first


@pytest.mark.parametrize(
    "wrong", [1_640_995_200_000, "1640995200000", "yesterday", 1.5, None, True, "2022-01-01T00:00:00.5"]
)
def test_what_is_not_a_time_is_refused(wrong):
    with pytest.raises(IntervalError):
        parse_time(wrong)


def test_a_span_that_ends_before_it_starts_is_refused():
    with pytest.raises(IntervalError, match="before it starts"):
        Span(60, 0)


spans = st.tuples(st.integers(0, 50), st.integers(0, 10)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))


@given(spans, st.lists(spans, max_size=6))
def test_gaps_are_what_is_wanted_and_not_covered(wanted, covered):
    left = {t for span in subtract(wanted, covered) for t in range(span.start, span.end)}
    assert left == set(range(wanted.start, wanted.end)) - {t for span in covered for t in range(span.start, span.end)}


@given(st.lists(spans, max_size=8))
def test_merged_spans_are_sorted_and_do_not_touch(many):
    merged = merge(many)
    assert all(a.end < b.start for a, b in pairwise(merged))
    assert {t for s in merged for t in range(s.start, s.end)} == {t for s in many for t in range(s.start, s.end)}


@given(st.sets(st.integers(0, 40)), spans)
def test_missing_bars_are_the_buckets_that_have_none(present, span):
    ts = np.array(sorted(present), dtype=np.int64) * 60
    scaled = Span(span.start * 60 - 7, span.end * 60 + 7)
    found = {t for gap in missing(ts, 60, scaled) for t in gap.buckets(60)}
    assert found == set(scaled.buckets(60)) - set(ts.tolist())
