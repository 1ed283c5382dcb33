"""A tag query of a live run takes queues of other strategies as upstreams when they come, and lets them go."""

from __future__ import annotations

import sqlite3

import numpy as np
import pandas as pd
import pytest

from qmtl.errors import UsageError
from qmtl.report.result import Result
from qmtl.sdk.parity import RECORD, certify
from stack.runners import DryRun
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

STRATEGIES = """
from qmtl.indicators import sma
from qmtl.sdk import Node, Strategy, StreamInput, TagQueryNode


class Momentum(Strategy):
    period = 5

    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        self.add_nodes([price, sma(price.close, self.period, name="mean", tags=["momentum"])])


class Slower(Momentum):
    period = 9


def total(view):
    return {"count": float(len(list(view))), "sum": float(sum(view.array(node, "value")[-1] for node in view))}


class Ensemble(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        found = TagQueryNode(["momentum"], interval="1m", period=3, name="found")
        schema = {"count": "float64", "sum": "float64"}
        self.add_nodes([price, Node(input=found, compute_fn=total, name="total", schema=schema)])
"""


@pytest.fixture
def run(world, tmp_path, real_data):
    """Return a function that starts a dry-run on bars of which four of five are missing."""
    file, bars = tmp_path / "strategies.py", tmp_path / "bars.parquet"
    file.write_text(STRATEGIES)
    pd.read_parquet(real_data("BTC-PERP-1m.parquet")).sample(frac=0.2, random_state=1).sort_index().to_parquet(bars)
    made = []

    def start(name, out=None):
        made.append(DryRun(world, f"{file}:{name}", {"price": bars}, tmp_path / (out or name), "--speed=6000x"))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.close()


def total_of(world, ensemble):
    found = world.run("status", ensemble)
    return next(one for one in found["nodes"] if one["name"] == "total")


def test_upstreams_come_and_go(world, run, tmp_path):
    ensemble = run("Ensemble")
    named = {one["name"]: one["strategy_id"] for one in world.run("status")["strategies"]}
    waits = wait_until(lambda: (one := total_of(world, named["Ensemble"]))["state"] and one, 30)
    assert (waits["state"], waits["last_bucket"]) == ("waiting", None)

    momentum = run("Momentum")
    first = wait_until(lambda: (one := total_of(world, named["Ensemble"]))["last_bucket"] and one, 60)
    assert first["state"] == "ready"
    slower = run("Slower")
    named |= {one["name"]: one["strategy_id"] for one in world.run("status")["strategies"]}
    wait_until(lambda: _has_counted(tmp_path / "Ensemble" / "run" / "state.db", 2.0), 60)
    world.run("stop", named["Slower"])
    slower.finished()
    wait_until(lambda: _has_counted(tmp_path / "Ensemble" / "run" / "state.db", 1.0, after=2.0), 60)
    for one in (momentum, ensemble):
        one.process.terminate()
        one.finished(code=143)

    total = without_a_hole(Result.load(tmp_path / "Ensemble").outputs)
    changes = total["count"][total["count"].diff() != 0].tolist()
    assert changes == [1.0, 2.0, 1.0]
    mean = Result.load(tmp_path / "Momentum").outputs["mean"]["value"]
    alone = total[total["count"] == 1.0]["sum"]
    both = alone.index.intersection(mean.index)
    assert len(both) > 10
    assert (alone[both] == mean[both]).all()
    for name in ("Ensemble", "Momentum"):
        certified = certify(tmp_path / name)
        assert certified.equal, (name, certified.first_difference)
    assert_lies_are_found(tmp_path / "Ensemble", total)


def test_a_run_that_is_killed_is_certified_with_the_upstreams_of_all_its_lives(world, run, tmp_path):
    momentum, ensemble, slower = run("Momentum"), run("Ensemble"), run("Slower")
    wait_until(lambda: _has_counted(tmp_path / "Ensemble" / "run" / "state.db", 2.0), 60)
    ensemble.kill9()
    slower.process.terminate()  # while nobody looks
    slower.finished(code=143)
    ensemble.start()
    wait_until(lambda: _has_counted(tmp_path / "Ensemble" / "run" / "state.db", 1.0, after=2.0), 60)
    ensemble.kill9()
    ensemble.start()
    slower.start()
    wait_until(lambda: _has_counted(tmp_path / "Ensemble" / "run" / "state.db", 2.0, after=1.0), 60)
    ensemble.kill9()
    for one in (momentum, slower):
        one.process.terminate()
        one.finished(code=143)
    ensemble.start()  # a life without upstreams: the result has those of the others
    ensemble.process.terminate()
    ensemble.finished(code=143)
    total = without_a_hole(Result.load(tmp_path / "Ensemble").outputs)
    assert total["count"][total["count"].diff() != 0].tolist()[-3:] == [2.0, 1.0, 2.0]
    certified = certify(tmp_path / "Ensemble")
    assert certified.equal, certified.first_difference


@pytest.mark.parametrize("world", ["embedded"], indirect=True)
def test_who_has_not_chosen_the_upstreams_is_told_who_is_certified(run, tmp_path):
    runs = [run("Momentum")]
    for out in ("Ensemble", "Reader"):
        runs.append(run("Ensemble", out=out))
        wait_until(lambda folder=tmp_path / out: _has_counted(folder / "run" / "state.db", 1.0), 60)
    for one in reversed(runs):
        one.process.terminate()
        one.finished(code=143)
    assert certify(tmp_path / "Ensemble").equal
    with pytest.raises(UsageError, match="another runner computed 'total'"):
        certify(tmp_path / "Reader")


def without_a_hole(outputs):
    """Return the total; it has every bar that there is, also where upstreams came and went."""
    total, bars = outputs["total"], outputs["price"].index
    assert total.index.tolist() == bars[(bars >= total.index[0]) & (bars <= total.index[-1])].tolist()
    return total


def lies(run, sql, *values):
    """Change a record for a moment; return the first difference that is found."""
    kept = (run / RECORD).read_bytes()
    db = sqlite3.connect(run / RECORD)
    with db:
        assert db.execute(sql, values).rowcount > 0
    db.close()
    found = certify(run)
    (run / RECORD).write_bytes(kept)
    return found.first_difference


def assert_lies_are_found(run, total):
    """What upstreams gave, and when they were there, is part of what is certified."""
    came = int(total.index[total["count"] == 2.0][0])
    before = int(total.index[total.index < came][-1])
    later = lies(run, "UPDATE turns SET last = ? WHERE last = ?", came, before)
    assert (later["node"], later["bucket"], later["field"]) == ("total", came, "count")
    db = sqlite3.connect(run / RECORD)
    ((queue,),) = db.execute(
        "SELECT DISTINCT json_extract(upstreams, '$[0][0]') FROM turns WHERE json_array_length(upstreams) = 1"
    )
    seq, last, values = db.execute(
        """SELECT c.seq, c.last, c."values" FROM chunks c JOIN series s ON s.id = c.series
        JOIN names n ON n.id = s.node WHERE n.name = ? AND c.n > 4 ORDER BY c.seq DESC""",
        [queue],
    ).fetchone()
    db.close()
    values = np.frombuffer(values).copy()
    values[-1] = np.nextafter(values[-1], np.inf)
    other = lies(run, 'UPDATE chunks SET "values" = ? WHERE seq = ?', values.tobytes(), seq)
    assert (other["node"], other["bucket"], other["field"]) == ("total", last, "sum")


def _has_counted(path, count, after=None):
    from qmtl.live.run_record import RunRecord

    record = RunRecord(path)
    rows = [rows for node in record.nodes for _, rows in record.parts(node) if "count" in rows.fields]
    record.close()
    seen = [value for part in rows for value in part.values[part.fields.index("count")][:, 0].tolist()]
    return count in seen if after is None else after in seen and seen[-1] == count
