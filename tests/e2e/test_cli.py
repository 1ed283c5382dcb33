"""The command line as people and scripts use it: real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

STRATEGY = """
import signal
from qmtl.indicators import sma
from qmtl.sdk import Costs, Node, Strategy, StreamInput
from qmtl.sdk.trade import target_position


def made(k):
    def spread(view):
        return float(view.array("price", "close")[-1] * k)
    return spread


class Cross(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        fast, slow = sma(price.close, 20, name="fast"), sma(price.close, 50, name="slow")
        double, triple = (Node(input={"price": price}, compute_fn=made(k), period=2, name=f"times{k}") for k in (2, 3))
        self.add_nodes([price, fast, slow, double, triple])
        self.add_nodes(target_position(fast > slow, price=price, size=1.0, name="position"))

    def define_execution(self):
        self.set_target("position", costs=Costs(taker_bps=5.0))


class Slow(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        self.add_nodes([price, Node(input={"price": price}, compute_fn=self.wait, period=1, name="wait", version="1")])

    def wait(self, view):
        print("started", flush=True)
        signal.pause()


class Faulty(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        self.add_nodes([price, Node(input={"price": price}, compute_fn=lambda view: 1 / 0, period=1, name="faulty")])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, real_data):
    made = tmp_path_factory.mktemp("project")
    (made / "cross.py").write_text(STRATEGY)
    (made / "btc.parquet").write_bytes(real_data("BTC-PERP-1m.parquet").read_bytes())
    (made / "jpy.parquet").write_bytes(real_data("USDJPY-1m-gaps.parquet").read_bytes())
    return made


@pytest.fixture
def qmtl(folder):
    def run(*words, code=0):
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}
        done = subprocess.run(
            [sys.executable, "-m", "qmtl", *words],
            cwd=folder, capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    return run


MONTH = ("--data", "price=btc.parquet", "--start", "2022-01-01", "--end", "2022-02-01")


def test_backtest_writes_and_says_all_that_scripts_need(qmtl, folder):
    told = json.loads(qmtl("backtest", "cross.py:Cross", *MONTH, "--out", "one", "--json"))
    assert len(told["node_ids"]["fast"]) == 64
    assert told["warmup"]["slow"] == 50
    assert told["metrics"]["trades"] > 100
    assert told["basis"]["periods"] == 365
    assert (folder / told["report"]).stat().st_size < 3_000_000
    qmtl("backtest", "cross.py:Cross", *MONTH, "--engine", "stream", "--out", "two")
    assert json.loads(qmtl("compare", "one", "two", "--json")) == {"equal": True, "first_difference": None}
    assert "Cross" in qmtl("report", "one")


def test_compare_finds_what_differs(qmtl, folder):
    qmtl("backtest", "cross.py:Cross", *MONTH, "--out", "all")
    qmtl("backtest", "cross.py:Cross", *MONTH[:-1], "2022-01-15", "--out", "half")
    qmtl("compare", "all", "half", code=1)


def test_offline_does_not_trade(qmtl):
    assert json.loads(qmtl("offline", "cross.py:Cross", *MONTH, "--json"))["metrics"] == {}


def test_demo_shares_kills_and_compares(qmtl, folder):
    told = json.loads(qmtl("demo", "--json", "--out", "demo"))
    assert told["dryrun_equals_backtest"] is told["parity"] is True
    handover = told["handover"]
    assert {handover["killed"], handover["successor"]} == set(told["nodes"])
    assert told["computed"][handover["successor"]]["price"] > 0
    assert told["read"][handover["successor"]]["slow"] > 0
    assert told["unique_nodes"] == sum(told["nodes"].values()) - told["shared_nodes"]
    assert told["shared_nodes"] >= 2
    assert told["calls_saved"] == told["shared_nodes"] * told["bars"]
    assert all((folder / page).is_file() for page in told["reports"].values())


def test_graph_prints_the_document(qmtl):
    made = json.loads(qmtl("graph", "cross.py:Cross", "--json"))
    assert made["version"] == "qmtl.dag/1"
    assert [node["name"] for node in made["nodes"]][:3] == ["price", "fast", "slow"]
    assert "← price.close" in qmtl("graph", "cross.py:Cross")


def test_diff_explains_in_one_line(qmtl):
    assert "closure k: 2 → 3" in qmtl("diff", "cross.py:Cross/times2", "cross.py:Cross/times3")
    assert "params.period: 20 → 50" in qmtl("diff", "cross.py:Cross/fast", "cross.py:Cross/slow")
    assert json.loads(qmtl("diff", "cross.py:Cross/fast", "cross.py:Cross/fast", "--json"))["equal"]


@pytest.mark.parametrize("check", ["lookahead", "determinism", "warmup"])
def test_checks_of_a_clean_strategy(check, qmtl):
    told = json.loads(qmtl("check", check, "cross.py:Cross", *MONTH[:-1], "2022-01-03", "--json"))
    assert told["clean"], told


def test_lint(qmtl):
    assert "clean" in qmtl("lint", "cross.py:Cross")
    assert json.loads(qmtl("lint", "cross.py:Faulty", "--json"))["clean"]


def test_data_commands(qmtl, folder):
    listed = {entry["file"]: entry for entry in json.loads(qmtl("data", "list", ".", "--json"))}
    assert listed["btc.parquet"]["bars"] == 45_031
    told = json.loads(qmtl("data", "gaps", "jpy.parquet", "--json"))
    assert len(told["gaps"]) == 38
    assert told["missing"] == sum(gap["bars"] for gap in told["gaps"])
    (folder / "raw.csv").write_text("ts,close\n60,1.5\n120,2.5\n")
    assert json.loads(qmtl("data", "import", "raw.csv", "raw.parquet", "--json"))["bars"] == 2


def test_init_makes_a_project_that_runs_and_passes_its_tests(qmtl, folder):
    qmtl("init", "fresh")
    qmtl("backtest", "fresh/strategy.py:Cross", "--data", "price=fresh/data/BTC-PERP-1m.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "fresh"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "not empty" in qmtl("init", "fresh", code=2)


def test_doctor_finds_this_machine_well(qmtl):
    assert json.loads(qmtl("doctor", "--json"))["ok"]


def test_the_module_form_of_the_seed(folder):
    words = ["--mode", "backtest", "--start-time", "2022-01-01", "--end-time", "2022-01-08", "--on-missing", "skip"]
    done = subprocess.run(
        [sys.executable, "-m", "qmtl.sdk", "cross:Cross", *words, "--data", "price=btc.parquet"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "total return" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("backtest", "cross.py:Crosss", *MONTH), 1, "did you mean 'Cross'"),
        (("backtest", "crosss.py:Cross", *MONTH), 1, "no file 'crosss.py'"),
        (("backtest", "cross.py:Cross"), 1, "has no data"),
        (("backtest", "cross.py:Cross", "--data", "prize=btc.parquet"), 1, "did you mean 'price'"),
        (("backtest", "cross.py:Cross", "--data", "price"), 2, "not STREAM=PATH"),
        (("backtest", "cross.py:Cross", "--data", "price=none.parquet"), 1, "btc.parquet"),
        (("backtest", "cross.py:Cross", *MONTH[:2], "--start", "2022-02-01", "--end", "2022-01-01"), 2, "not before"),
        (("backtest", "cross.py:Faulty", *MONTH), 1, "ZeroDivisionError: division by zero"),
        (("backtest", "cross.py:Cross", *MONTH, "--out", "."), 1, "is no result"),
        (("report", "nowhere"), 1, "no result in 'nowhere'"),
        (("data", "gaps", "cross.py"), 1, "no known kind"),
        (("backtset",), 2, "Did you mean 'backtest'"),
    ],
)
def test_mistakes_have_one_message_and_a_code(words, code, says, qmtl):
    assert says in qmtl(*words, code=code)


def test_ctrl_c_stops_and_leaves_nothing(folder):
    words = [sys.executable, "-m", "qmtl", "backtest", "cross.py:Slow", *MONTH, "--out", "stopped"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=folder, text=True, **pipes) as process:
        try:
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert errors.strip() == "stopped; nothing was written"
    assert not (folder / "stopped").exists()


def test_a_full_disk_is_told(folder):
    command = f"ulimit -f 64; {sys.executable} -m qmtl backtest cross.py:Cross {' '.join(MONTH)} --out full"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot write 'full'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "full").exists()
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".full")]
