"""The parity certificate: an honest record is certified, and every kind of lie in it is found and named."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from qmtl.errors import IdentityError, SourceNotFoundError
from qmtl.live.paper import FILL
from qmtl.live.rows import Rows
from qmtl.report.result import Result
from qmtl.sdk.parity import RECORD, certify
from stack.recordings import record

STRATEGIES = Path(__file__).parent / "strategies" / "paper.py"


@pytest.fixture(scope="module")
def bars():
    random = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.003, 600)))
    table = pd.DataFrame({"ts": 1_700_000_040 + 60 * np.arange(600), "open": np.roll(close, 1), "close": close})
    table.loc[0, "open"] = close[0]
    return table[random.random(600) < 0.93].reset_index(drop=True)


@pytest.fixture(params=["Cross", "Slow"])
def run(request, bars, tmp_path):
    """A folder of a dry-run; what is in it may be changed."""
    record(f"{STRATEGIES}:{request.param}", {"price": bars}, tmp_path / "run", seed=11)
    return tmp_path / "run"


def ids(run):
    return json.loads((run / "result.json").read_text())["node_ids"]


def traded(run):
    return "weight" if "weight" in ids(run) else "position"


def edit(run, sql, *values):
    db = sqlite3.connect(run / RECORD)
    with db:
        assert db.execute(sql, values).rowcount > 0
    db.close()


def of_node(run, name):
    """Return sequence number and content of a chunk from the middle of a node's records."""
    db = sqlite3.connect(run / RECORD)
    found = db.execute(
        """SELECT c.seq, c.first, c.last, c.n, c.buckets, c."values", s.width FROM chunks c
        JOIN series s ON s.id = c.series JOIN names n ON n.id = s.node WHERE n.name = ? AND c.n > 4 ORDER BY c.seq""",
        [ids(run)[name]],
    ).fetchall()
    db.close()
    seq, first, last, n, buckets, values, width = found[len(found) // 2]
    ts = np.linspace(first, last, n).astype(np.int64) if buckets is None else np.frombuffer(buckets, np.int64)
    return seq, ts.copy(), np.frombuffer(values).reshape(-1, n, width).copy()


def put(run, seq, ts, values):
    edit(
        run, 'UPDATE chunks SET first = ?, last = ?, n = ?, buckets = ?, "values" = ? WHERE seq = ?',
        int(ts[0]), int(ts[-1]), len(ts), ts.tobytes(), np.ascontiguousarray(values).tobytes(), seq,
    )  # fmt: skip


def flip(array, *at):
    """Change the last bit of one number."""
    array[at] = np.nextafter(array[at], np.inf)


def first_difference(run):
    found = certify(run)
    assert not found.equal
    assert found.certificate is None
    assert {"node", "bucket", "field", "recorded", "replayed"} <= found.first_difference.keys()
    return found.first_difference


def test_an_honest_run_is_certified(run):
    found = certify(run)
    assert found.equal, found.first_difference
    assert found.certificate["fills"] == len(Result.load(run).fills) > 3
    assert found.certificate["nodes"] == len(Result.load(run).outputs)
    assert found.certificate["bars"] > 1000
    assert len(found.certificate["digest"]) == 64
    assert certify(run).certificate == found.certificate


@pytest.mark.parametrize("name", ["price", "traded", "indicator"])
def test_one_bit_of_an_output_is_found(run, name):
    name = {"traded": traded(run), "indicator": "slow" if "slow" in ids(run) else "moved"}.get(name, name)
    seq, ts, values = of_node(run, name)
    flip(values, 0, 2, 0)
    put(run, seq, ts, values)
    found = first_difference(run)
    assert (found["node"], found["bucket"]) == (name, int(ts[2]))
    assert found["recorded"] != found["replayed"]


@pytest.mark.parametrize("name", ["price", "traded"])
def test_a_missing_bucket_is_found(run, name):
    name = traded(run) if name == "traded" else name
    seq, ts, values = of_node(run, name)
    put(run, seq, np.delete(ts, 2), np.delete(values, 2, axis=1))
    found = first_difference(run)
    assert found["node"] == name
    if name != "price":
        assert (found["bucket"], found["field"], found["recorded"]) == (int(ts[2]), "bucket", None)


@pytest.mark.parametrize("name", ["price", "traded"])
def test_a_doubled_bucket_is_found(run, name):
    name = traded(run) if name == "traded" else name
    seq, ts, values = of_node(run, name)
    put(run, seq, np.insert(ts, 2, ts[2]), np.insert(values, 2, values[:, 2], axis=1))
    found = first_difference(run)
    assert found["node"] == name
    if name != "price":
        assert (found["bucket"], found["field"], found["replayed"]) == (int(ts[2]), "bucket", None)


def order_of(run, place=2):
    db = sqlite3.connect(run / RECORD)
    rows = db.execute(
        "SELECT seq, client_order_id, ts, quantity FROM orders WHERE status = 'filled' ORDER BY ts"
    ).fetchall()
    db.close()
    return rows[place]


def test_the_quantity_of_an_order_is_found(run):
    seq, name, ts, quantity = order_of(run)
    edit(run, "UPDATE orders SET quantity = ? WHERE seq = ?", float(np.nextafter(quantity, np.inf)), seq)
    found = first_difference(run)
    assert (found["client_order_id"], found["bucket"], found["field"]) == (name, ts, "order.quantity")
    assert found["replayed"] == quantity


def test_swapped_orders_are_found(run):
    (one, name, _, _), (two, other, _, _) = order_of(run, 2), order_of(run, 3)
    edit(run, "UPDATE orders SET client_order_id = 'x' WHERE seq = ?", one)
    edit(run, "UPDATE orders SET client_order_id = ? WHERE seq = ?", name, two)
    edit(run, "UPDATE orders SET client_order_id = ? WHERE seq = ?", other, one)
    found = first_difference(run)
    assert found["client_order_id"] in (name, other)
    assert found["field"].startswith("order")


@pytest.mark.parametrize("sql", ["DELETE FROM orders WHERE seq = ?", "UPDATE orders SET status = 'open' WHERE seq = ?"])
def test_a_lost_order_is_found(run, sql):
    seq, name, _, _ = order_of(run)
    edit(run, sql, seq)
    assert first_difference(run)["client_order_id"] == name


def fills_of(run):
    db = sqlite3.connect(run / RECORD)
    seq, records = db.execute("SELECT seq, records FROM fills ORDER BY seq LIMIT 1 OFFSET 1").fetchone()
    db.close()
    return seq, np.frombuffer(records, FILL).copy()


@pytest.mark.parametrize("field", ["price", "fee", "quantity", "slippage"])
def test_a_fill_is_found(run, field):
    seq, fills = fills_of(run)
    before = float(fills[field][0])
    fills[field][0] = np.nextafter(before, np.inf)
    edit(run, "UPDATE fills SET records = ? WHERE seq = ?", fills.tobytes(), seq)
    found = first_difference(run)
    assert (found["field"], found["replayed"], found["bucket"]) == (f"fill.{field}", before, int(fills["ts"][0]))
    assert found["client_order_id"] == fills["client_order_id"][0].tobytes().hex()


def test_a_lost_fill_is_found(run):
    seq, fills = fills_of(run)
    edit(run, "UPDATE fills SET records = ? WHERE seq = ?", fills[1:].tobytes(), seq)
    assert first_difference(run)["field"].startswith("fill")


@pytest.mark.parametrize(("row", "field"), [(0, "equity"), (1, "cash"), (2, "position[price]")])
def test_one_bit_of_an_account_is_found(run, row, field):
    db = sqlite3.connect(run / RECORD)
    seq, first, n, values = db.execute(
        'SELECT seq, first, n, "values" FROM accounts ORDER BY seq LIMIT 1 OFFSET 1'
    ).fetchone()
    db.close()
    values = np.frombuffer(values).reshape(3, n).copy()
    flip(values, row, 0)
    edit(run, 'UPDATE accounts SET "values" = ? WHERE seq = ?', values.tobytes(), seq)
    found = first_difference(run)
    assert (found["node"], found["bucket"], found["field"]) == (traded(run), first, field)
    assert found["recorded"] == float(values[row, 0])


def test_a_lost_arrival_is_found(run):
    edit(run, "DELETE FROM arrivals WHERE seq = (SELECT seq FROM arrivals WHERE n > 0 LIMIT 1 OFFSET 2)")
    found = first_difference(run)
    assert (found["node"], found["field"]) == ("price", "arrival")


def test_arrivals_in_another_order_are_found(run):
    edit(run, "UPDATE arrivals SET seq = -seq")
    assert first_difference(run)["field"] == "arrival"


@pytest.mark.parametrize("table", ["equity", "fills", "orders", "outputs/price"])
def test_a_table_that_is_not_what_was_recorded_is_found(run, table):
    path = run / f"{table}.parquet"
    frame = pyarrow.parquet.read_table(path).to_pandas()
    column = {"equity": "equity", "fills": "price", "orders": "quantity"}.get(table, "close")
    frame.loc[frame.index[3], column] = np.nextafter(frame[column].iloc[3], np.inf)
    frame.to_parquet(path)
    found = first_difference(run)
    assert (found["what"], found["field"]) == (f"file {table}", column)


@pytest.fixture(params=["Cross", "Slow"])
def repaired_run(request, bars, tmp_path):
    """A run in which bars came too late twice: one that was missing, and some that were there with other prices."""
    holes = sorted({*range(int(bars.ts[0]), int(bars.ts.iloc[-1]), 60)} - {*bars.ts.tolist()})
    early, late = [ts for ts in holes if ts < bars.ts[200]], bars.ts[300:303].to_numpy()
    put_in = Rows.made(np.array(early[-1:]), {"close": np.array([[90.0]]), "open": np.array([[91.0]])})
    changed = Rows.made(late, {"close": np.full((3, 1), 120.0), "open": np.full((3, 1), 119.0)})
    address = f"{STRATEGIES}:{request.param}"
    record(address, {"price": bars}, tmp_path / "run", 11, repairs={20: put_in, 30: changed})
    return tmp_path / "run"


def test_a_run_with_repairs_is_certified_as_first_emitted_and_as_repaired(repaired_run):
    found = certify(repaired_run)
    assert found.equal, found.first_difference


@pytest.mark.parametrize("what", ["a repaired value", "a lost repair of an output", "a lost repair of a bar"])
def test_a_repair_that_is_not_what_it_says_is_found(repaired_run, what):
    chunks = """SELECT c.seq, c.first, c."values" FROM chunks c JOIN series s ON s.id = c.series
        JOIN names n ON n.id = s.node WHERE c.revision > 0 AND n.name = ? ORDER BY c.seq"""
    name = "price" if "bar" in what else "fast" if "fast" in ids(repaired_run) else "moved"
    db = sqlite3.connect(repaired_run / RECORD)
    seq, first, values = db.execute(chunks, [ids(repaired_run)[name]]).fetchall()[-1]
    db.close()
    if "lost" in what:
        edit(repaired_run, "DELETE FROM chunks WHERE seq = ?", seq)
        assert first_difference(repaired_run)["bucket"] >= first
        return
    values = np.frombuffer(values).copy()
    flip(values, 0)
    edit(repaired_run, 'UPDATE chunks SET "values" = ? WHERE seq = ?', values.tobytes(), seq)
    found = first_difference(repaired_run)
    assert (found["node"], found["bucket"], found["what"]) == (name, first, "repaired output")


def test_another_strategy_is_refused_by_name(run):
    with pytest.raises(IdentityError, match="is not the strategy that ran: node"):
        certify(run, f"{STRATEGIES}:Quiet")


def test_a_folder_without_a_record_says_so(run):
    (run / RECORD).unlink()
    with pytest.raises(SourceNotFoundError, match="no run is stored"):
        certify(run)


def test_a_run_that_trades_nothing_is_certified(bars, tmp_path):
    record(f"{STRATEGIES}:Quiet", {"price": bars}, tmp_path / "run")
    found = certify(tmp_path / "run")
    assert found.equal
    assert found.certificate["orders"] == 0


@pytest.mark.parametrize("is_true", [True, False])
def test_the_command_says_it_as_json_and_by_its_exit_code(bars, tmp_path, is_true):
    record(f"{STRATEGIES}:Cross", {"price": bars}, tmp_path / "run")
    if not is_true:
        edit(tmp_path / "run", "DELETE FROM orders WHERE seq = 1")
    done = subprocess.run(
        [sys.executable, "-m", "qmtl", "parity", str(tmp_path / "run"), "--json"], capture_output=True, check=False
    )
    said = json.loads(done.stdout)
    assert (done.returncode, said["equal"]) == ((0, True) if is_true else (1, False)), done.stderr
    assert said.keys() == {"equal", "certificate" if is_true else "first_difference"}
