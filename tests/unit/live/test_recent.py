"""The last records of a node: as many as are remembered, in order, bit for bit, however they came."""

from __future__ import annotations

import numpy as np
import pytest

from qmtl.live.recent import REMEMBERED, Recent
from qmtl.live.rows import Rows


def rows(first, count, *, fields=("high", "low"), symbols=3):
    ts = 60 * np.arange(first, first + count)
    values = np.random.default_rng(first).standard_normal((len(fields), count, symbols))
    return Rows(ts, fields, values)


def same(one: Rows, other: Rows) -> bool:
    return one.fields == other.fields and all(
        a.tobytes() == b.tobytes() and a.shape == b.shape for a, b in ((one.ts, other.ts), (one.values, other.values))
    )


@pytest.mark.parametrize("sizes", [[1] * 700, [255, 1, 1], [7] * 90, [1024], [40, 256, 3], [300, 300]])
def test_the_last_records_are_there_in_any_cut(sizes):
    recent, parts, first = Recent(), [], 0
    for size in sizes:
        parts.append(rows(first, size))
        recent.add(parts[-1])
        first += size
    assert same(recent.rows(), Rows.joined(parts).part(-REMEMBERED))


def test_other_fields_or_symbols_begin_anew():
    recent = Recent()
    recent.add(rows(0, 5))
    recent.add(rows(5, 2, symbols=1))
    assert same(recent.rows(), rows(5, 2, symbols=1))
    recent.add(rows(7, 2, fields=("close", "open"), symbols=1))
    assert recent.rows().fields == ("close", "open")
    assert len(Recent().rows()) == 0


def test_a_copy_goes_on_apart_and_what_was_told_stays():
    recent = Recent()
    recent.add(rows(0, 5))
    told, other = recent.rows(), recent.copy()
    recent.add(rows(5, 1))
    assert same(other.rows(), rows(0, 5))
    assert same(told, rows(0, 5))
    assert len(recent.rows()) == 6
