"""Each bucket once, in order, whatever a topic holds."""

from __future__ import annotations

import numpy as np

from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE, Sequence
from qmtl.wire.records import Batch


def rows(*buckets, value=1.0, name="value"):
    ts = np.array(buckets, np.int64)
    return Rows(ts, (name,), np.full((1, len(ts), 1), value))


def batch(*buckets, epoch=1, **more):
    return rows(*buckets, **more).batch("ab", epoch, buckets[-1] + 60)


def test_what_comes_again_is_compared_and_dropped():
    sequence = Sequence()
    assert sequence.take(batch(0, 60)).ts.tolist() == [0, 60]
    assert sequence.take(batch(0, 60, 120)).ts.tolist() == [120]
    assert sequence.take(batch(60)) is None
    assert (sequence.last, sequence.through, sequence.repeated, sequence.violation) == (120, 180, 3, None)


def test_an_older_epoch_is_void_behind_a_fence():
    sequence = Sequence()
    sequence.take(batch(0))
    assert sequence.take(Batch("ab", 2)) is None
    assert sequence.take(batch(60)) is None
    assert sequence.take(batch(60, epoch=2, value=2.0)).values.item() == 2.0
    assert (sequence.voided, sequence.violation) == (1, None)


def test_the_first_record_that_differs_is_a_violation():
    sequence = Sequence()
    sequence.take(batch(0, 60, 120))
    sequence.take(batch(60, 120, value=2.0))
    found = sequence.violation
    assert (found.bucket, found.first, found.second) == (60, {"value": 1.0}, {"value": 2.0})


def test_other_fields_are_a_violation_and_bits_of_nan_count():
    sequence = Sequence()
    sequence.take(batch(0, value=np.nan))
    sequence.take(batch(0, value=np.nan))
    assert sequence.violation is None
    sequence.take(batch(0, value=np.frombuffer(b"\1\0\0\0\0\0\xf8\x7f")[0]))
    assert sequence.violation.bucket == 0
    other = Sequence()
    other.take(batch(0))
    other.take(batch(0, name="else"))
    assert other.violation.second == {"else": 1.0}


def test_memory_is_bounded():
    sequence = Sequence()
    for k in range(10_000):
        sequence.emitted(rows(60 * k), 60 * k + 60)
    assert len(sequence.recent) == 256
    sequence.emitted(rows(*range(600_000, 700_000, 60)), 700_000)
    assert len(sequence.recent) == 256
    assert (len(Sequence().recent), Sequence().last) == (0, NONE)
