"""Nodes in words."""

from qmtl.cli.watching import Row, line, rows

NODE = {
    "node_id": "ab" * 32,
    "name": "",
    "state": None,
    "done": None,
    "need": None,
    "reason": None,
    "eta_s": None,
    "producer": None,
    "host": None,
    "epoch": None,
    "last_bucket": None,
    "lag_s": None,
}


def row(**more):
    (made,) = rows([{"strategy_id": "s-0123456789abcdef", "name": None, "nodes": [NODE | more]}])
    return made


def test_a_node_that_nobody_attends_to():
    assert row() == Row("s-0123456789", "ab" * 6, "unattended", "-", "-", "-", "-", "")


def test_a_node_that_warms():
    assert row(state="warming", done=3, need=50).state == "warming 3 of 50"
    assert row(state="warming", done=3, need=50, eta_s=0.4).state == "warming 3 of 50, 0 s left"
    before, after = row(state="warming", done=3, need=50), row(state="warming", done=4, need=50, last_bucket=60)
    assert before.changes == after.changes, "progress alone is worth no line"


def test_a_hand_over_is_worth_a_line():
    one = row(state="ready", host="a:1", epoch=1 << 20 | 1, producer="r-1", lag_s=0, last_bucket=0)
    other = row(state="ready", host="b:2", epoch=1 << 20 | 2, producer="r-2", lag_s=0, last_bucket=0)
    assert one.changes != other.changes
    assert (one.epoch, other.epoch, one.last) == ("1.1", "1.2", "1970-01-01T00:00:00Z")


def test_a_line_ends_with_the_reason():
    assert line(row(state="quarantined", reason="QM-SCHEMA: other fields")).endswith("  QM-SCHEMA: other fields")
    assert line(row()).split() == ["s-0123456789", "ab" * 6, "unattended", "-", "-", "-", "-"]
