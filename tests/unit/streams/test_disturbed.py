"""Replay with faults: one seed, one story, whoever asks and from wherever."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.errors import UnknownNameError, UsageError
from qmtl.frame import Frame
from qmtl.streams import Disturbed, Faults, Pace, parse_faults

NONE = -(1 << 62)


def bars(count=400, symbols=None, width=1):
    ts = 60 * np.arange(count, dtype=np.int64)
    return Frame(ts, {"close": ts[:, None] + np.arange(width, dtype=float)}, 60, symbols)


def played(feed, limit=50, after=NONE, turn=lambda: None):
    """Everything that a feed gives: sealed bars, late bars, and what was known at each turn."""
    seen, late, known = [], [], []
    for _ in range(5000):
        made = feed.arrived(after, limit)
        if made.bars is not None:
            seen += made.bars.ts.tolist()
            after = seen[-1]
        late += [] if made.late is None else [(t, made.through) for t in made.late.ts.tolist()]
        known.append(made.through)
        if made.through == feed.end and (made.bars is None or not len(made.bars)):
            return seen, late, known
        turn()
    raise AssertionError("it does not end")


def test_faults_are_read_from_text():
    assert parse_faults("late=0.02,double=0.01,seed=7,repair=1") == Faults(late=0.02, double=0.01, seed=7, repair=True)
    assert parse_faults("") == Faults()
    with pytest.raises(UnknownNameError, match="fault 'lat'"):
        parse_faults("lat=1")
    for text in ("late=2", "late=x", "late=-1", "late=nan", "repair=3"):
        with pytest.raises(UsageError, match="makes no sense"):
            parse_faults(text)


def test_without_faults_it_is_the_record():
    feed = Disturbed(bars(), Pace(None), Faults())
    seen, late, _ = played(feed)
    assert (seen, late, feed.end) == (bars().ts.tolist(), [], 24_000)
    assert feed.sealed.fingerprint() == bars().fingerprint()


@pytest.mark.parametrize(
    ("fault", "counted"),
    [("late", "late"), ("reorder", "late"), ("double", "duplicates"), ("backwards", "duplicates"), ("stall", "late")],
)
def test_each_fault_is_seen_as_what_it_is(fault, counted):
    tally = Disturbed(bars(), Pace(None), Faults(**{fault: 0.05})).tally
    assert getattr(tally, counted) > 5
    assert tally.sealed + tally.late + tally.duplicates == tally.arrived


def test_missing_and_nan_bars_are_passed_over():
    feed = Disturbed(bars(), Pace(None), Faults(missing=0.1, nan=0.1))
    assert feed.tally.arrived < 380
    assert feed.tally.sealed + feed.tally.refused["not a number"] == feed.tally.arrived
    assert not np.isnan(feed.sealed.columns["close"]).any()
    assert played(feed)[0] == feed.sealed.ts.tolist()


def test_what_is_late_completes_the_record():
    feed = Disturbed(bars(), Pace(None), Faults(late=0.1, reorder=0.1, stall=0.01, repair=True))
    assert len(feed.sealed) < 380
    assert feed.repairs
    assert feed.repaired.fingerprint() == bars().fingerprint()


def test_in_a_universe_a_row_has_all_symbols():
    frame = bars(symbols=("A", "B"), width=2)
    frame.columns["close"][7, 0] = np.nan
    assert Disturbed(frame, Pace(None), Faults()).sealed.fingerprint() == frame.fingerprint()


EVERYTHING = Faults(
    late=0.1, double=0.1, reorder=0.1, missing=0.05, nan=0.05, backwards=0.1, stall=0.01, stall_s=300, seed=5
)


@settings(max_examples=60)
@given(
    st.integers(1, 100),
    st.sampled_from([None, 60.0, 600.0]),
    st.lists(st.floats(0.2, 30), min_size=1),
    st.integers(0, 9),
)
def test_whatever_the_turns_everybody_is_told_the_same(limit, speed, turns, seed):
    at, again = [0.0], iter(turns * 5000)

    def turn():
        at[0] += next(again)

    faults = replace(EVERYTHING, seed=seed)
    feed = Disturbed(bars(), Pace(speed, lambda: at[0]), faults, horizon=30_000)
    seen, late, known = played(feed, limit, turn=turn)
    assert seen == feed.sealed.ts.tolist()
    assert [bucket for bucket, _ in late] == feed.late.ts.tolist(), "each late bar is told once"
    assert known == sorted(known)
    assert known[-1] == 30_000


def test_late_bars_are_of_buckets_that_are_behind():
    for speed in (None, 60.0):
        at = [0.0]

        def turn(at=at):
            at[0] += 0.7

        _, late, _ = played(Disturbed(bars(), Pace(speed, lambda at=at: at[0]), EVERYTHING), 7, turn=turn)
        assert len(late) > 20
        assert all(bucket < through for bucket, through in late)


def test_another_runner_goes_on_from_any_bucket():
    whole = Disturbed(bars(), Pace(None), EVERYTHING)
    for after in (0, 6000, 12_345, 23_940):
        other = Disturbed(bars(), Pace(None), EVERYTHING)
        seen, late, _ = played(other, 20, after)
        assert seen == [t for t in whole.sealed.ts.tolist() if t > after]
        come = [t for t, moment in zip(whole.late.ts, whole._script.late_at, strict=True) if moment > after]
        assert {t for t, _ in late} >= set(come)


def test_the_wait_leads_to_the_next_news():
    at = [0.0]
    feed, after = Disturbed(bars(50), Pace(60.0, lambda: at[0]), EVERYTHING), NONE
    for _ in range(500):
        made = feed.arrived(after, 100)
        after = after if made.bars is None else int(made.bars.ts[-1])
        if made.through == feed.end:
            return
        assert made.wait_s > 0
        at[0] += made.wait_s
    raise AssertionError("it does not end")


def test_a_stall_is_told_while_it_lasts():
    at = [0.0]
    feed, after, said = Disturbed(bars(50), Pace(1.0, lambda: at[0]), Faults(stall=0.05, seed=2)), NONE, set()
    assert feed.silent_s() == 0.0
    for _ in range(80 * 60):
        made = feed.arrived(after, 100)
        after = after if made.bars is None else int(made.bars.ts[-1])
        said.add(feed.problem)
        at[0] += 1
    assert "no bar for 500 s" in said
    assert feed.problem == ""
