"""Bars without an end: due by the clock, and the same from any bucket on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmtl.generators import gbm
from qmtl.interval import Span
from qmtl.streams import Generated, Pace

MARKET = gbm(seed=11, start=0)
NONE = -(1 << 62)


def feed(pace, begin=0):
    return Generated(lambda span: MARKET.bars(60, span), 60, pace, begin)


def test_bars_come_when_they_end():
    at = [0.0]
    made = feed(Pace(60.0, lambda: at[0]))
    assert made.arrived(NONE, 10).bars.ts.tolist() == [0]
    got = made.arrived(0, 10)
    assert (got.bars, got.through, got.wait_s) == (None, 60, 1.0)
    at[0] = 3.5
    got = made.arrived(0, 2)
    assert (got.bars.ts.tolist(), got.through, got.wait_s) == ([60, 120], 180, 0.0)
    assert (made.arrived(120, 2).bars.ts.tolist(), made.end, made.silent_s()) == ([180], None, 0.0)


def test_it_begins_at_a_whole_bucket():
    assert feed(Pace(None), begin=100).arrived(NONE, 2).bars.ts.tolist() == [120, 180]


@given(st.integers(0, 5000), st.integers(1, 500))
def test_everybody_is_given_the_same(bucket, limit):
    got = feed(Pace(None)).arrived(60 * bucket, limit)
    whole = MARKET.bars(60, Span(0, 60 * 6000))
    assert got.bars.fingerprint() == whole.rows(bucket + 1, bucket + 1 + limit).fingerprint()
    assert got.through == 60 * (bucket + 1 + limit)
