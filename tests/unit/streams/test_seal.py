"""Sealing: strictly growing buckets from any arrivals, and nothing lost without a word."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.streams.seal import Sealer

NAN = math.nan


def sealed(sealer):
    return [bucket for bucket, _ in sealer.sealed]


def test_a_bar_is_final_when_its_source_says_so():
    sealer = Sealer(60, grace_s=None)
    sealer.put(0, (1.0,), at=60, closed=True)
    assert (sealed(sealer), sealer.through) == ([0], 60)


def test_a_bar_is_final_when_a_later_one_arrives_and_what_is_between_is_passed_over():
    sealer = Sealer(60, grace_s=None)
    sealer.put(0, (1.0,), at=30)
    assert (sealed(sealer), sealer.through) == ([], 0)
    sealer.put(180, (2.0,), at=190)
    assert (sealed(sealer), sealer.through) == ([0], 180)


def test_a_bar_is_final_when_its_grace_is_over():
    sealer = Sealer(60, grace_s=2)
    sealer.put(0, (1.0,), at=30)
    sealer.tick(61.9)
    assert sealed(sealer) == []
    assert not sealer.is_due(61.9)
    assert sealer.is_due(62)
    sealer.tick(62)
    assert (sealed(sealer), sealer.through) == ([0], 60)
    sealer.tick(200)
    assert sealer.through == 180, "a bucket without a bar is passed over"


def test_the_latest_state_of_an_open_bar_wins():
    sealer = Sealer(60, grace_s=2)
    for value in (1.0, 2.0, 2.0, 3.0):
        sealer.put(0, (value,), at=30)
    sealer.put(60, (9.0,), at=60)
    assert sealer.sealed == [(0, (3.0,))]
    assert sealer.tally.duplicates == 3


def test_a_row_of_a_sealed_bucket_is_late_unless_it_says_the_same():
    sealer = Sealer(60, grace_s=2)
    sealer.put(0, (1.0,), at=60, closed=True)
    sealer.put(0, (1.0,), at=61)
    sealer.put(0, (2.0,), at=61)
    sealer.put(0, (2.0,), at=61)
    assert sealer.taken() == ([(0, (1.0,))], [(0, (2.0,))])
    assert (sealer.tally.late, sealer.tally.duplicates) == (1, 2)
    assert sealer.taken() == ([], [])


def test_a_row_that_comes_after_its_grace_is_late_even_if_nothing_came_meanwhile():
    sealer = Sealer(60, grace_s=2)
    sealer.put(0, (1.0,), at=63)
    assert (sealer.sealed, sealer.late, sealer.through) == ([], [(0, (1.0,))], 60)


@pytest.mark.parametrize(
    ("bucket", "values", "why"),
    [
        (61, (1.0,), "off the grid of 1m"),
        (60.5, (1.0,), "off the grid of 1m"),
        (NAN, (1.0,), "off the grid of 1m"),
        (0, (1.0, NAN), "not a number"),
        (0, (math.inf, 1.0), "not a number"),
        (1_640_995_200_000, (1.0,), "from the future"),
    ],
)
def test_what_is_no_bar_is_refused_by_name(bucket, values, why):
    sealer = Sealer(60, grace_s=2)
    sealer.put(bucket, values, at=60)
    assert dict(sealer.tally.refused) == {why: 1}
    assert (sealer.sealed, sealer.late, sealer._open) == ([], [], None)


def test_in_a_universe_a_symbol_may_have_no_bar_but_not_all_of_them():
    sealer = Sealer(60, grace_s=2, partial=True)
    sealer.put(0, (1.0, NAN), at=60, closed=True)
    sealer.put(0, (1.0, NAN), at=60, closed=True)
    sealer.put(60, (NAN, NAN), at=120, closed=True)
    assert (sealed(sealer), sealer.tally.duplicates, dict(sealer.tally.refused)) == ([0], 1, {"not a number": 1})


def test_what_is_remembered_is_bounded():
    sealer = Sealer(60, grace_s=None)
    for k in range(5000):
        sealer.put(60 * k, (1.0,), at=60 * k, closed=True)
        sealer.taken()
    sealer.put(0, (1.0,), at=300_000)
    assert (len(sealer._known), sealer.tally.late) == (1024, 1)


ROWS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 20).map(lambda k: 60 * k), st.integers(0, 1200)),
        st.sampled_from([1.0, 2.0, NAN]),
        st.floats(0, 200),
        st.booleans(),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(ROWS, st.sampled_from([None, 0, 2, 90]))
def test_whatever_arrives_buckets_grow_and_every_row_is_accounted_for(rows, grace_s):
    sealer, at, seen, through = Sealer(60, grace_s), 0.0, [], -1000
    for bucket, value, passed, closed in rows:
        at += passed
        sealer.put(bucket, (value,), at=at, closed=closed)
        bars, late = sealer.taken()
        assert all(start >= through for start, _ in bars), "nothing is sealed that was passed over"
        assert all(start < sealer.through for start, _ in late)
        assert sealer.through is None or sealer.through >= through
        assert not bars or bars[-1][0] + 60 <= sealer.through
        through = through if sealer.through is None else sealer.through
        seen += bars
    starts = [start for start, _ in seen]
    assert starts == sorted(set(starts))
    tally = sealer.tally
    kept = tally.sealed + tally.late + tally.duplicates + tally.refused.total() + (sealer._open is not None)
    assert (tally.sealed, kept) == (len(seen), len(rows))
