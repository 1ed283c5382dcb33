"""When a run commits: seldom enough to cost little, often enough to hold little."""

from __future__ import annotations

from qmtl.live.pace import Pace


def written(pace, at, took):
    pace.began(at)
    pace.ended(at, at + took)


def test_records_seconds_or_an_order_make_a_commit_due():
    pace = Pace(records=100, seconds=1.0)
    written(pace, 10.0, 0.0)
    assert not pace.is_due(10.5, has_orders=False)
    assert pace.is_due(10.5, has_orders=True)
    assert pace.is_due(11.0, has_orders=False)
    pace.delivered(100)
    assert pace.is_due(10.5, has_orders=False)


def test_writing_takes_its_share_of_the_time_and_no_more():
    pace = Pace(share=0.1)
    written(pace, 10.0, 0.5)
    assert not pace.is_due(15.4, has_orders=True)
    assert pace.is_due(15.5, has_orders=True)


def test_nothing_is_due_while_a_commit_is_written_until_too_much_waits():
    pace = Pace(records=100, most=1000)
    pace.began(10.0)
    pace.delivered(999)
    assert not pace.is_due(1e9, has_orders=True)
    pace.delivered(1)
    assert pace.is_due(10.0, has_orders=False)


def test_what_will_be_delivered_again_does_not_count():
    pace = Pace(records=100)
    written(pace, 10.0, 0.0)
    pace.delivered(100)
    pace.anew()
    assert not pace.is_due(10.5, has_orders=False)


def test_many_records_or_a_long_time_press():
    pace = Pace(records=100, seconds=1.0)
    written(pace, 10.0, 0.0)
    assert not pace.is_pressing(11.0)
    assert pace.is_pressing(12.0)
    pace.delivered(100)
    assert pace.is_pressing(10.0)
