"""Replay: the same bars whoever asks, at the pace of the clock, and no stream holds another up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.errors import UsageError
from qmtl.frame import Frame
from qmtl.streams import Pace, Recorded, parse_speed


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


def bars(*ts, interval=60):
    return Frame(np.array(ts, np.int64), {"close": np.array(ts, float)[:, None]}, interval)


def asked(feed, after, limit=100):
    made = feed.arrived(after, limit)
    return ([] if made.bars is None else made.bars.ts.tolist()), made.through


NONE = -(1 << 62)


def test_as_fast_as_it_goes_everything_is_there_in_parts_of_the_limit():
    feed = Recorded(bars(0, 60, 120, 300), Pace(None))
    assert asked(feed, NONE, limit=2) == ([0, 60], 120)
    assert asked(feed, 60, limit=1) == ([120], 300), "what is missing is known to be missing"
    assert asked(feed, 120) == ([300], 360)
    assert asked(feed, 300) == ([], 360)


def test_behind_its_last_bar_it_is_known_up_to_the_end_of_the_run():
    feed = Recorded(bars(0, 60), Pace(None), horizon=600)
    assert asked(feed, NONE, limit=1) == ([0], 60)
    assert asked(feed, 0) == ([60], 600)
    assert (feed.end, feed.problem, feed.silent_s()) == (600, "", 0.0)


def test_bars_come_when_they_end_and_the_wait_is_told(clock):
    feed = Recorded(bars(0, 60, 120), Pace(60.0, clock))
    assert asked(feed, NONE) == ([0], 60)
    clock.at += 0.25
    made = feed.arrived(0, 10)
    assert (made.bars, made.through, made.wait_s) == (None, 60, 0.75)
    clock.at += 0.75
    assert asked(feed, 0) == ([60], 120)


def test_time_passes_over_what_is_missing(clock):
    feed = Recorded(bars(0, 300), Pace(60.0, clock))
    assert asked(feed, NONE) == ([0], 60)
    clock.at += 2.5
    made = feed.arrived(0, 10)
    assert (made.through, made.wait_s) == (180, 0.5)
    clock.at += 100
    assert asked(feed, 0) == ([300], 360)


def test_bars_that_warm_up_are_there_at_once(clock):
    feed = Recorded(bars(0, 60, 120, 180, 240), Pace(1.0, clock, begin=180))
    assert asked(feed, NONE) == ([0, 60, 120], 180)
    assert feed.arrived(120, 10).wait_s == 60.0


def test_streams_of_one_run_stay_together(clock):
    pace = Pace(60.0, clock, begin=60)
    fast, slow = Recorded(bars(*range(0, 600, 60)), pace), Recorded(bars(0, 300, interval=300), pace)
    assert asked(fast, NONE)[0] == [0]
    assert asked(slow, NONE) == ([], 0)
    clock.at += 4
    assert asked(slow, NONE) == ([0], 300)


def test_a_stand_by_goes_on_from_where_the_other_was(clock):
    frame = bars(*range(0, 6000, 60))
    feed = Recorded(frame, Pace(60.0, clock))
    assert asked(feed, 3000) == ([], 3060)
    assert feed.arrived(3000, 10).wait_s == 1.0
    clock.at += 1
    assert asked(feed, 3000) == ([3060], 3120)
    assert asked(feed, 2880, limit=2) == ([2940, 3000], 3060), "what was there is there"


def test_nothing_is_copied():
    frame = bars(*range(0, 6000, 60))
    assert np.shares_memory(Recorded(frame, Pace(None)).arrived(60, 50).bars.columns["close"], frame.columns["close"])


@given(
    st.sets(st.integers(0, 60), min_size=1),
    st.lists(st.tuples(st.integers(1, 5), st.floats(0, 4)), max_size=40),
    st.sampled_from([None, 60.0]),
)
def test_whatever_the_turns_the_bars_are_those_that_were_recorded(buckets, turns, speed):
    ts, clock = [60 * k for k in sorted(buckets)], Clock()
    feed, after, known, seen = Recorded(bars(*ts), Pace(speed, clock), horizon=4000), NONE, -math.inf, []
    for limit, passed in [*turns, *[(1, 1000.0)] * (len(ts) + 1)]:
        got, through = asked(feed, after, limit)
        assert (got, through) == asked(feed, after, limit), "asked again it says the same"
        assert all(t + 60 > known for t in got), "nothing comes that was said to have come"
        assert through >= known
        assert not got or got[-1] + 60 <= through
        seen, after, known = seen + got, got[-1] if got else after, through
        clock.at += passed
    assert (seen, known) == (ts, 4000)


def test_a_speed_that_makes_no_sense_is_refused():
    assert parse_speed("1.5x") == 1.5
    with pytest.raises(UsageError, match="speed '0x'"):
        parse_speed("0x")
