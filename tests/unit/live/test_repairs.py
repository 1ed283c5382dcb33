"""Records that are replaced, put in and taken back."""

from __future__ import annotations

import numpy as np

from qmtl.live.late import Late
from qmtl.live.repairs import Redo, Repairs
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE


def rows(**values):
    pairs = sorted((int(name[1:]), value) for name, value in values.items())
    ts = np.array([ts for ts, _ in pairs], np.int64)
    return Rows(ts, ("value",), np.array([value for _, value in pairs], float).reshape(1, -1, 1))


def plain(found):
    return dict(zip(found.ts.tolist(), found.values[0, :, 0].tolist() if found.fields else [None] * 9, strict=False))


def test_revisions_count_once_and_in_order():
    repairs = Repairs()
    repair = rows(t60=6).batch("ab", 1, 0, 1, rests={"cd": 4})
    assert plain(repairs.take(repair)) == {60: 6.0}
    assert repairs.take(repair) is None
    repairs.take(rows(t60=7, t90=9).batch("ab", 1, 0, 2))
    repairs.take(Rows(np.array([0]), (), np.zeros((0, 1, 1))).batch("ab", 1, 0, 3))
    assert plain(repairs.over(rows(t0=0, t60=1, t120=2), -1, 120)) == {60: 7.0, 90: 9.0, 120: 2.0}
    assert plain(repairs.over(Rows.none(), 60, 120)) == {90: 9.0}
    assert (repairs.since(0), repairs.since(1), repairs.since(3), repairs.rests) == (0, 0, None, {"cd": 4})


def test_what_is_computed_again_is_changed_gone_or_new():
    redo = Redo(60, 180, frozenset())
    redo.take(rows(t0=0, t60=1, t90=5), 150, 30)
    assert not redo.is_over
    redo.take(rows(t120=3, t180=4, t210=8), 240, 30)
    changed, gone, fresh = redo.differing(rows(t0=7, t60=1, t120=2, t150=6), 30, 0)
    assert (redo.is_over, plain(changed), plain(gone)) == (True, {90: 5.0, 120: 3.0}, {150: None})
    assert plain(fresh) == {180: 4.0, 210: 8.0}


def test_nothing_that_was_emitted_is_lost_where_a_repair_is_later():
    redo = Redo(300, 120, frozenset())
    redo.take(rows(t60=1, t90=2, t120=3), 240, 30)
    changed, gone, fresh = redo.differing(rows(t90=2), 30, 0)
    assert (len(changed), len(gone), plain(fresh)) == (0, 0, {120: 3.0})
    assert redo.sealed > NONE


def test_what_is_not_known_any_more_is_taken_back():
    redo = Redo(0, 300, frozenset())
    redo.take(rows(t60=1, t180=2), 300, 60)
    changed, gone, _ = redo.differing(rows(t120=5, t180=2), 60, 120)
    assert (plain(changed), gone.ts.tolist()) == ({60: 1.0}, [0, 120])


def test_what_rests_on_newer_revisions_of_streams_is_known_by_bucket():
    repairs = Repairs()
    repairs.take(rows(t300=1).batch("ab", 1, 0, 1, rests={"s": 1}))
    repairs.take(rows(t120=1).batch("ab", 1, 0, 2))
    assert (repairs.beyond({"s": 0}), repairs.beyond({"s": 7})) == (120, 120)  # the end of the repair has not come
    repairs.take(rows(t180=1).batch("ab", 1, 0, 3, rests={"s": 2}))
    assert [repairs.beyond({"s": known}) for known in (0, 1, 2)] == [120, 120, None]
    assert repairs.beyond({"other": 0}) is None


def test_late_bars_wait_until_they_can_be_published_and_again_until_they_are_committed():
    late, sent = Late(), []

    def publish(stream, found):
        sent.append((stream, found.ts.tolist()))
        return found.after(60)

    late.put("s", rows(t60=1, t120=2), repairs=True)
    late.put("t", rows(t0=1), repairs=False)
    late.send("s", publish)
    assert late.waits("s")
    late.send("s", lambda stream, found: sent.append((stream, found.ts.tolist())) or Rows.none())
    assert not late.waits("s")
    late.again()
    late.send("s", publish)
    assert sent == [("s", [60, 120]), ("s", [120]), ("s", [60, 120, 120])]
    assert ([stream for stream, _ in late.committed()], [*late.committed()], late.count) == (["s", "t"], [], 3)
    late.again()
    assert late.waits("s")  # what was not published is kept
