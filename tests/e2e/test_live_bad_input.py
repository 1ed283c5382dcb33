"""Whatever users, feeds and machines do to a live run: named, contained to what depends on it, visible, undone."""

from __future__ import annotations

import http.client
import signal
import subprocess
import time
from urllib.parse import urlsplit

import pandas as pd
import pytest

from qmtl.frame import Frame
from qmtl.report.compare import compare
from qmtl.report.result import Result
from qmtl.sdk import Runner
from qmtl.sdk.loader import load_strategy
from qmtl.streams.disturbed import Disturbed
from qmtl.streams.faults import parse_faults
from qmtl.streams.pace import Pace
from stack.fixtures import emptied
from stack.process import free_ports
from stack.programs import QMTL
from stack.runners import DryRun
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

STRATEGIES = """
import threading

from qmtl.indicators import sma
from qmtl.sdk import Node, Strategy, StreamInput
from qmtl.sdk.trade import target_position

BAD, KEPT = {bad}, []


def raises(view):
    if view.bucket >= BAD:
        raise ValueError("no such thing")
    return {{"value": 1.0}}


def blocks(view):
    if view.bucket >= BAD:
        threading.Event().wait(30)
    return {{"value": 1.0}}


def leaks(view):
    KEPT.append(bytearray(200_000))
    return {{"value": 1.0}}


def other_fields(view):
    return {{"value": 1.0}} if view.bucket < BAD else {{"price": 1.0}}


def text(view):
    return {{"value": 1.0 if view.bucket < BAD else "high"}}


def pinned(view):
    return {{"value": {pinned} * view.latest("price")["close"]}}


class Good(Strategy):
    others = 0

    def setup(self):
        price = StreamInput(tags=["{tag}"], interval="{interval}", name="price")
        mean, fast = sma(price.close, 50, name="mean"), sma(price.close, 10, name="fast")
        self.add_nodes([price, mean, fast, target_position(fast > mean, price=price, size=1.0, name="position")])
        self.add_nodes([sma(price.close, 60 + k) for k in range(self.others)])

    def define_execution(self):
        self.set_target("position")


class Wide(Good):
    others = 30


class Bad(Strategy):
    function, options = None, {{}}

    def setup(self):
        price = StreamInput(tags=["{tag}"], interval="{interval}", name="price")
        bad = Node(input={{"price": price}}, compute_fn=type(self).function, name="bad", **self.options)
        self.add_nodes([price, sma(price.close, 20, name="near"), bad, sma(bad["value"], 5, name="after")])


class Raises(Bad):
    function, options = raises, {{"schema": {{"value": "float64"}}}}


class Alone(Bad):
    function, options = raises, {{"schema": {{"value": "float64"}}, "on_error": "quarantine"}}


class Blocks(Bad):
    function, options = blocks, {{"schema": {{"value": "float64"}}}}


class Leaks(Bad):
    function, options = leaks, {{"schema": {{"value": "float64"}}}}


class OtherFields(Bad):
    function, options = other_fields, {{"schema": {{"value": "float64"}}}}


class Text(Bad):
    function, options = text, {{"schema": {{"value": "float64"}}}}


class Pinned(Bad):
    function, options = pinned, {{"schema": {{"value": "float64"}}, "version": "1"}}
"""

BARS, BAD_AT = 3_000, 2_000
MAX = ("--speed=max", "--until-end")


#: Where nothing of the stack can matter, or what is full or broken is the embedded one's own.
embedded = pytest.mark.parametrize("service", ["embedded"], indirect=True)
real = pytest.mark.parametrize("service", ["real"], indirect=True)


@pytest.fixture(scope="module", params=["embedded", "real"])
def service(request, tmp_path_factory, shared_server):
    """One world of each kind for all: each test has streams of its own."""
    with emptied(request.param, tmp_path_factory.mktemp("world") / "data", shared_server) as made:
        yield made


@pytest.fixture
def bars(sample_bars):
    return pd.DataFrame(sample_bars(bars=BARS))


class Desk:
    """What a test starts: strategies over a stream of its own."""

    def __init__(self, world, folder, bars, interval="1m", **more):
        self.world, self.folder, self.bars = world, folder, bars
        self.more = {"tag": folder.name, "interval": interval, "bad": int(bars.ts.iloc[BAD_AT]), "pinned": 1} | more
        self.file, self.data = folder / "strategies.py", folder / "bars.parquet"
        self.file.write_text(STRATEGIES.format(**self.more))
        bars.to_parquet(self.data)
        self.started = []

    def run(self, *names, out="out", options=MAX, file=None, data=None):
        address = " ".join(f"{file or self.file}:{name}" for name in names)
        made = DryRun(self.world, address, {"price": data or self.data}, self.folder / out, *options)
        self.started.append(made)
        made.start()
        return made

    def expected(self, name, bars=None):
        data = {"price": self.bars if bars is None else bars}
        return Runner.backtest(load_strategy(f"{self.file}:{name}"), data=data)

    def equal(self, name, out, bars=None):
        found = compare(self.expected(name, bars), Result.load(self.folder / out))
        return found.equal or found.first_difference

    def nodes(self, run):
        """How the nodes of a run are, as everybody sees it at the Gateway, by name."""
        strategy = run.log.read_text().partition("running ")[2].split()[0].rstrip(",")
        return {one["name"] or one["node_id"]: one for one in self.world.run("status", strategy)["nodes"]}

    def close(self):
        for run in self.started:
            run.close()


@pytest.fixture
def desk(service, tmp_path, bars):
    made = Desk(service, tmp_path, bars)
    yield made
    made.close()


def interrupted(run):
    """Press Ctrl-C; return how long the end took."""
    begin = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    code = run.process.wait(20)
    assert code == 130, run.log.read_text()
    return time.monotonic() - begin


def told(run):
    said = run.log.read_text()
    assert "Traceback" not in said, said
    return said


# ---------------------------------------------------------------------------------- users' functions


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Raises", "QM-COMPUTE: node 'bad' failed at 2022-01-02T09:20:00Z: ValueError: no such thing"),
        ("Alone", "QM-COMPUTE: node 'bad' failed at 2022-01-02T09:20:00Z: ValueError: no such thing"),
        ("OtherFields", "QM-SCHEMA-MISMATCH: node 'bad' returned fields ['price'] at 2022-01-02T09:20:00Z"),
        ("Text", "QM-SCHEMA-MISMATCH: node 'bad' returned value = 'high' at 2022-01-02T09:20:00Z"),
    ],
)
def test_a_function_that_fails_stops_what_depends_on_it_and_nothing_else(desk, name, says):
    run = desk.run(name, "Good")
    answer = run.finished(code=1)
    assert f"bad was quarantined: {says}" in told(run)
    assert desk.equal("Good", "out/Good") is True
    made, provenance = Result.load(desk.folder / "out" / name), answer["strategies"][0]["provenance"]
    assert provenance["faults"]["bad"].startswith(says)
    assert "faults" not in answer["strategies"][1]["provenance"]
    assert len(made.outputs["near"]) == BARS - 19
    assert len(made.outputs["bad"]) == BAD_AT
    assert len(made.outputs["after"]) == BAD_AT - 4
    assert made.outputs["bad"].index[-1] < desk.bars.ts.iloc[BAD_AT]


def test_a_quarantined_node_is_visible_to_everybody_while_the_rest_goes_on(desk):
    run = desk.run("Raises", options=["--speed=max"])
    wait_until(lambda: desk.nodes(run)["bad"]["state"] == "quarantined", 30)
    nodes = wait_until(
        lambda: (found := desk.nodes(run))["near"]["last_bucket"] == int(desk.bars.ts.iloc[-1]) and found, 30
    )
    assert "ValueError: no such thing" in nodes["bad"]["reason"]
    assert (nodes["after"]["state"], nodes["after"]["reason"]) == ("stalled", "waits for bad, which is quarantined")
    assert nodes["near"]["state"] == "ready"
    assert interrupted(run) < 5.0
    assert "stopped; everything that ended by" in told(run)


def test_a_function_that_does_not_return_holds_up_its_own_process_only(desk):
    blocked = desk.run("Blocks", out="blocked", options=["--speed=max"])
    node = wait_until(lambda: (found := desk.nodes(blocked)["bad"])["state"] == "stalled" and found, 30)
    assert "its function has not returned for" in node["reason"]
    other = desk.run("Good", out="other")
    other.finished(60)
    assert desk.equal("Good", "other") is True
    assert desk.nodes(blocked)["bad"]["state"] == "stalled"  # its session lives
    assert interrupted(blocked) < 5.0
    assert "node 'bad' has not returned: saved up to the last commit" in told(blocked)


def test_a_leak_ends_the_run_in_order_before_the_machine_suffers(desk):
    run = desk.run("Leaks", "Good", options=[*MAX, "--memory-limit=450"])
    assert run.finished(code=1) == {}
    said = told(run)
    assert "more than its limit of 450 MiB" in said
    assert "'bad'" in said
    assert "--memory-limit MIB" in said
    assert len(Result.load(desk.folder / "out" / "Leaks").outputs["price"]) > 0


def test_two_codes_under_one_version_are_found_at_the_hand_over(desk):
    other = desk.folder / "theirs" / "strategies.py"
    other.parent.mkdir()
    other.write_text(STRATEGIES.format(**desk.more | {"pinned": 2}))
    options = ["--speed=6000x", "--metrics-port=0"]
    first = desk.run("Pinned", out="first", options=options)
    second = desk.run("Pinned", out="second", options=options, file=other)
    wait_until(lambda: (desk.nodes(second)["bad"]["last_bucket"] or 0) > int(desk.bars.ts.iloc[100]), 60)
    first.kill9()
    node = wait_until(lambda: (found := desk.nodes(second)["bad"])["state"] == "quarantined" and found, 60)
    assert node["reason"].startswith("QM-DETERMINISM: determinism violation: node 'bad' gave {'value': ")
    assert ", and again {'value': " in node["reason"]
    assert desk.nodes(second)["after"]["state"] == "stalled"
    wait_until(lambda: "determinism_violation_total 1.0" in metrics(second), 10)
    assert interrupted(second) < 5.0
    assert "determinism violation" in told(second)


def metrics(run):
    place = urlsplit(run.log.read_text().partition("metrics at ")[2].split()[0])
    connection = http.client.HTTPConnection(place.netloc, timeout=10)
    connection.request("GET", place.path)
    return connection.getresponse().read().decode()


# --------------------------------------------------------------------------------------------- feeds


@pytest.mark.parametrize("faults", ["nan=0.05", "double=0.1,reorder=0.1", "backwards=0.1", "late=0.05,missing=0.05"])
def test_a_bad_feed_is_sealed_and_the_run_equals_the_backtest_over_what_was_sealed(desk, faults):
    desk.run("Good", options=[*MAX, f"--faults={faults},seed=3"]).finished()
    frame = Frame(desk.bars.ts.to_numpy(), {"close": desk.bars.close.to_numpy()[:, None]}, 60)
    sealed = Disturbed(frame, Pace(None), parse_faults(f"{faults},seed=3")).sealed
    kept = desk.bars[desk.bars.ts.isin(sealed.ts)].reset_index(drop=True)
    assert desk.equal("Good", "out", kept) is True


def test_a_feed_that_stalls_is_told(service, tmp_path, sample_bars):
    desk = Desk(service, tmp_path, pd.DataFrame(sample_bars(bars=BARS, interval=1)), interval="1s")
    run = desk.run("Good", options=["--speed=4x", "--faults=stall=0.2,stall_s=3000"])
    node = wait_until(lambda: (found := desk.nodes(run)["price"])["state"] == "stalled" and found, 40)
    assert node["reason"].startswith("no bar for")
    assert desk.nodes(run)["mean"]["reason"] == "waits for price, which is stalled"
    assert interrupted(run) < 5.0


def test_other_bars_than_those_of_the_queue_are_refused(desk):
    desk.run("Good", out="first").finished()
    other = desk.folder / "other.parquet"
    desk.bars.assign(close=desk.bars.close.where(desk.bars.index != 7, desk.bars.close + 1.0)).to_parquet(other)
    run = desk.run("Good", out="second", data=other)
    run.finished(code=1)
    said = told(run)
    assert "stream 'price' has other bars in its queue than here, the first at 2022-01-01T00:07:00Z" in said
    assert "tags=" in said


# ------------------------------------------------------------------------------- disks and mistakes


class Cramped(DryRun):
    """A run whose files may not grow beyond so many KiB."""

    kib = 0

    def command(self):
        return ["bash", "-c", f'ulimit -f {self.kib}; exec "$@"', "bash", *super().command()]


def cramped(desk, name, kib, *options):
    run = Cramped(desk.world, f"{desk.file}:{name}", {"price": desk.data}, desk.folder / "out", *options)
    run.kib = kib
    desk.started.append(run)
    run.start()
    return run


@embedded
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(desk):
    run = cramped(desk, "Wide", 400, *MAX)  # of nodes without a name only queues have records
    node = wait_until(lambda: (found := desk.nodes(run)["price"])["state"] == "stalled" and found, 30)
    assert "broker.db" in node["reason"]
    assert "space" in node["reason"]
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(10)
    assert "the same command goes on from there" in told(run)
    again = desk.run("Wide")
    again.finished()
    assert desk.equal("Wide", "out") is True


@real
def test_a_disk_that_is_full_for_a_run_ends_that_run_and_others_take_over(desk):
    full = cramped(desk, "Good", 200, "--speed=60000x", "--until-end")
    other = desk.run("Good", out="other", options=["--speed=60000x", "--until-end"])
    assert full.finished(code=1) == {}
    said = told(full)
    assert "state.db" in said
    assert "make room" in said
    other.finished()
    assert desk.equal("Good", "other") is True
    desk.run("Good").finished()
    assert "goes on from 2022-01-0" in told(desk.started[-1])
    assert desk.equal("Good", "out") is True


def qmtl(desk, *more, out="out", data=None, name="Good"):
    command = [*QMTL, "dryrun", f"{desk.file}:{name}", f"--data=price={data or desk.data}", *MAX]
    place = ["--gateway-url", desk.world.url, "--out", str(desk.folder / out)]
    return subprocess.run(
        [*command, *place, *more], capture_output=True, text=True, timeout=60, check=False, env=desk.world.environment
    )


def damaged(desk):
    (desk.folder / "damaged.parquet").write_bytes(b"PAR1 no table")
    (desk.folder / "no.csv").write_text("")
    desk.bars.iloc[:0].to_parquet(desk.folder / "empty.parquet")
    (desk.folder / "mine").mkdir()
    (desk.folder / "mine" / "notes.txt").write_text("keep")


@embedded
@pytest.mark.parametrize(
    ("code", "says", "options"),
    [
        (1, "missing.parquet", {"data": "missing.parquet"}),
        (1, "damaged.parquet", {"data": "damaged.parquet"}),
        (1, "no.csv", {"data": "no.csv"}),
        (1, "price", {"data": "empty.parquet"}),
        (1, "exists and is no result", {"out": "mine"}),
        (1, "did you mean", {"more": ["--data=prise=x.parquet"]}),
        (3, "no Gateway answers", {"more": ["--gateway-url=http://127.0.0.1:{port}"]}),
        (1, "unknown fault", {"more": ["--faults=ghosts=1"]}),
        (2, "speed", {"more": ["--speed=fast"]}),
        (2, "memory_limit", {"more": ["--memory-limit=0"]}),
        (1, "--log-level", {"more": ["--log-level=loud"]}),
        (1, "unknown strategy", {"name": "Nobody"}),
    ],
)
def test_a_mistake_is_named_with_its_remedy_and_nothing_is_left(desk, code, says, options):
    damaged(desk)
    data = options.get("data")
    more = [one.format(port=free_ports(1)[0]) for one in options.get("more", ())]
    done = qmtl(
        desk, *more, data=data and desk.folder / data, out=options.get("out", "out"), name=options.get("name", "Good")
    )
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    assert done.returncode == code
    assert not (desk.folder / "out" / "result.json").exists()
    assert [one.name for one in (desk.folder / "mine").iterdir()] == ["notes.txt"]


@embedded
def test_two_runs_do_not_share_a_folder_and_the_first_goes_on(desk):
    first = desk.run("Good", options=["--speed=60x"])
    done = qmtl(desk)
    assert done.returncode == 1
    assert "another process runs in" in done.stderr
    assert desk.nodes(first)["price"]["producer"]  # it was not stopped
    assert interrupted(first) < 5.0


@embedded
def test_a_port_of_metrics_that_is_taken_is_named(desk):
    port = urlsplit(desk.world.url).port
    done = qmtl(desk, f"--metrics-port={port}")
    assert done.returncode == 2
    assert f"cannot serve metrics on 127.0.0.1:{port}" in done.stderr


# ------------------------------------------------------------------------------ once more, and stops


@embedded
def test_a_run_that_was_cut_off_goes_on_and_a_finished_one_begins_afresh(desk):
    first = desk.run("Good", options=["--speed=6000x", "--until-end"])
    wait_until(lambda: (desk.nodes(first)["position"]["last_bucket"] or 0) > int(desk.bars.ts.iloc[200]), 60)
    assert interrupted(first) < 5.0
    assert "the same command goes on from there" in told(first)
    second = desk.run("Good")
    second.finished()
    assert "goes on from 2022-01-01T" in told(second)
    assert desk.equal("Good", "out") is True
    third = desk.run("Good")
    third.finished()
    assert "goes on from" not in told(third)
    assert desk.equal("Good", "out") is True


@embedded
def test_an_unfinished_run_is_not_taken_for_another(desk):
    first = desk.run("Good", options=["--speed=60x"])
    assert interrupted(first) < 5.0
    done = qmtl(desk, "--cash=5")
    assert done.returncode == 2
    assert "has an unfinished run with other cash" in done.stderr
    assert "to begin afresh" in done.stderr


def test_a_strategy_is_stopped_with_its_last_runner(desk):
    first, second = (
        desk.run("Good", out="1", options=["--speed=60x"]),
        desk.run("Good", out="2", options=["--speed=60x"]),
    )
    strategy = first.log.read_text().partition("running ")[2].split()[0]
    interrupted(first)
    assert desk.world.run("status", strategy)["status"] in {"warming", "running"}
    interrupted(second)
    assert desk.world.run("status", strategy)["status"] == "stopped"


@embedded
def test_live_refuses_a_strategy_that_trades(desk):
    command = [*QMTL, "live", f"{desk.file}:Good", f"--data=price={desk.data}", "--gateway-url", desk.world.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Good trades, and no broker is configured: live orders cannot be sent" in done.stderr
    assert "qmtl dryrun" in done.stderr
