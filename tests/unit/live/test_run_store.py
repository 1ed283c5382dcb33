"""What a run keeps is exactly at a commit, whatever happens to the process or the disk."""

import resource
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.errors import DataFormatError, RunError, SourceNotFoundError, WriteError
from qmtl.interval import Span
from qmtl.live.paper import FILL, Order, Paper, Terms
from qmtl.live.rows import Rows
from qmtl.live.run_record import Arrival, RunRecord, Turn, packed, unpacked
from qmtl.live.run_store import Commit, RunStore, arrivals
from qmtl.trading.costs import Costs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "state.db"


@pytest.fixture
def store(path):
    made = RunStore(path)
    yield made
    made.close()


def rows(first, n, fields=("value",), width=1, step=60):
    ts = first + step * np.arange(n)
    values = np.random.default_rng(first).normal(size=(len(fields), n, width))
    return Rows(ts, fields, values)


def same(a, b):
    return a.fields == b.fields and a.ts.tobytes() == b.ts.tobytes() and a.values.tobytes() == b.values.tobytes()


def test_records_are_read_as_they_were_written(store):
    one, two = rows(0, 5, ("open", "close"), 3), rows(600, 4, ("open", "close"), 3)
    store.commit(Commit({"a": one, "b": rows(0, 2)}))
    store.commit(Commit({"a": two, "empty": Rows.none()}))
    assert same(store.outputs("a"), Rows.joined([one, two]))
    assert [same(part, x) for (_, part), x in zip(store.parts("a"), (one, two), strict=True)] == [True, True]
    assert store.nodes == ["a", "b"]
    assert len(store.outputs("c")) == 0


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=50, unique=True).map(sorted))
def test_buckets_are_kept_whatever_their_distances(ts):
    ts = np.array(ts)
    first, last, n, buckets = packed(ts)
    assert unpacked(first, last, n, buckets).tolist() == ts.tolist()
    assert packed(60 * np.arange(7))[3] is None


def test_bits_of_any_number_survive(store):
    odd = np.array([np.nan, -0.0, np.inf, -np.inf, 5e-324, np.float64.fromhex("0x1.8p0")])
    odd = np.concatenate([odd, np.array([0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000], np.uint64).view(np.float64)])
    given_ = Rows(60 * np.arange(len(odd)), ("value",), odd.reshape(1, -1, 1))
    store.commit(Commit({"a": given_}))
    assert same(store.outputs("a"), given_)


def test_a_repair_is_the_latest_and_the_first_stays(store):
    first, repair = rows(0, 5), Rows(np.array([60, 300]), ("value",), np.array([[[7.0], [8.0]]]))
    store.commit(Commit({"a": first}))
    store.commit(Commit({}, revised=[("a", 1, repair)]))
    again = Rows(np.array([60]), ("value",), np.array([[[9.0]]]))
    store.commit(Commit({}, revised=[("a", 2, again)], late=[("a", repair)]))
    assert same(store.outputs("a"), first)
    latest = store.latest("a")
    assert latest.ts.tolist() == [0, 60, 120, 180, 240, 300]
    assert latest.values[0, [1, 5], 0].tolist() == [9.0, 8.0]
    assert [revision for revision, _ in store.parts("a", revised=True)] == [1, 2]
    assert same(store.late("a")[0], repair)
    assert same(Rows.none().repaired(repair), repair)


def test_turns_are_kept_in_their_order(store):
    turns = [Turn("a", -60, "[]"), Turn("b", 0, '["q"]'), Turn("a", 120, '["q"]')]
    store.turned(turns[:1])
    store.turned(turns[1:])
    assert store.turns() == turns


def test_records_may_be_taken_back_and_given_again(store):
    gone = Rows(np.array([60, 120]), (), np.zeros((0, 2, 1)))
    again = Rows(np.array([120]), ("value",), np.array([[[9.0]]]))
    store.commit(Commit({"a": rows(0, 3)}, revised=[("a", 1, gone), ("a", 2, again)]))
    assert store.latest("a").ts.tolist() == [0, 120]
    assert store.latest("a").values[0, 1, 0] == 9.0


def test_the_order_of_arrival_is_kept_and_a_step_without_bars_too(store):
    streams = frozenset({"s", "t"})
    found = arrivals({"s": rows(0, 2), "x": rows(0, 9)}, [("t", 1, rows(60, 1))], 120, streams)
    found += arrivals({"x": rows(0, 9)}, [], 180, streams)
    store.commit(Commit({}, arrivals=found))
    assert [*store.arrivals()] == [
        Arrival("t", 60, 60, 1, 1, 120), Arrival("s", 0, 60, 2, 0, 120), Arrival("", 0, 0, 0, 0, 180)
    ]  # fmt: skip


def traded(seed, n=20):
    paper = Paper(Terms("s", "target", 60, "position", "price", 60, ("A", "B"), Costs(5), 1e3, Span(0, 1 << 40)))
    random = np.random.default_rng(seed)
    aims = Rows(60 * np.arange(n), ("value",), random.choice([-1.0, 0.0, 1.0], (1, n, 2)))
    prices = rows(0, n, ("close",), 2)
    half = n // 2
    pieces = [paper.take({"price": prices.part(0, half), "target": aims.part(0, half)}, 60 * half)]
    return [*pieces, paper.take({"price": prices.part(half), "target": aims.part(half)}, 60 * n)]


def test_an_account_is_read_as_one_and_an_order_is_there_once(store):
    pieces = traded(1)
    store.commit(Commit({}, traded={"s": pieces[:1]}))
    store.commit(Commit({}, traded={"s": pieces[1:]}))
    made = store.traded("s", 2)
    for name in ("ts", "equity", "cash", "position", "fills"):
        assert np.concatenate([getattr(p, name) for p in pieces]).tobytes() == getattr(made, name).tobytes(), name
    journal = {order.client_order_id: order for piece in pieces for order in piece.orders}
    assert {order.client_order_id: order for order in made.orders} == journal
    assert len(made.orders) == len(journal)
    assert store.takes("s") == [600, 1200]
    assert made.through == 1200


def test_an_order_that_comes_again_is_no_second_order(store):
    order = Order("id", 0, 0, 0, 1.5)
    for status in ("open", "open", "filled", "filled"):
        nothing = replace(traded(1)[0], ts=np.zeros(0, np.int64), fills=np.zeros(0, FILL))
        store.commit(Commit({}, traded={"s": [replace(nothing, orders=(replace(order, status=status),))]}))
    assert store.orders("s") == (replace(order, status="filled"),)


def test_a_checkpoint_stays_until_the_next(store):
    assert store.load() is None
    store.commit(Commit({}, checkpoint=b"one"))
    store.commit(Commit({"a": rows(0, 1)}))
    assert store.load() == b"one"


def test_a_second_writer_is_told(path, store):
    with pytest.raises(RunError, match="another process runs in"):
        RunStore(path)
    store.close()
    RunStore(path).close()


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(store):
    store.commit(Commit({"a": rows(0, 10)}, checkpoint=b"one"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {"a": rows(600, 100_000), "new": rows(0, 10)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        for _ in range(2):
            with pytest.raises(WriteError, match="cannot write"):
                store.commit(Commit(big, checkpoint=b"two"))
            assert store.load() == b"one"
            assert len(store.outputs("a")) == 10
            assert store.nodes == ["a"]
        store.commit(Commit({"a": rows(600, 1)}, checkpoint=b"small"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.commit(Commit({"a": rows(660, 100_000), "new": rows(0, 10)}, checkpoint=b"two"))
    assert (len(store.outputs("a")), store.load()) == (100_011, b"two")


def test_a_closed_run_is_one_file_and_its_lock(path, store):
    store.commit(Commit({"a": rows(0, 3)}))
    store.close()
    record = RunRecord(path)
    assert len(record.outputs("a")) == 3
    record.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["state.db", "state.db.lock"]
    again = RunStore(path)
    again.commit(Commit({"a": rows(180, 3)}))
    assert len(again.outputs("a")) == 6
    again.close()


def test_a_reader_sees_what_was_committed_while_the_run_goes_on(path, store):
    store.commit(Commit({"a": rows(0, 3)}))
    record = RunRecord(path)
    store.commit(Commit({"a": rows(180, 3)}))
    assert len(record.outputs("a")) == 6
    record.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(WriteError, match="cannot write"):
        RunStore(tmp_path / "run" / "state.db")


def test_what_is_no_run_is_told(path, tmp_path):
    with pytest.raises(SourceNotFoundError, match="no run is stored"):
        RunRecord(path)
    (tmp_path / "text").write_text("not a database at all, but long enough to be looked at" * 100)
    for opened in (RunRecord, RunStore):
        with pytest.raises(DataFormatError, match="damaged"):
            opened(tmp_path / "text")
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    for opened in (RunRecord, RunStore):
        with pytest.raises(DataFormatError, match="version 99"):
            opened(path)


def test_a_bar_costs_little_room(path, store):
    for k in range(40):
        store.commit(Commit({"a": rows(61440 * k, 1024)}))
    store.close()
    assert path.stat().st_size < 40 * 1024 * 8 * 1.3
