"""``qmtl demo``: the whole path. Two strategies in two processes share nodes, and one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qmtl.cli.options import Json, print_json, say
from qmtl.cli.runs import compilations_told
from qmtl.errors import RunError
from qmtl.interval import format_time

if TYPE_CHECKING:
    from qmtl.report.result import Result
    from qmtl.wire.client import GatewayClient

T = TypeVar("T")

_MINUTES = "BTC-PERP-1m.parquet"
#: A runner is dead after so many seconds; the default of services is longer.
_TIMEOUT_S = 1.0
_LOOK_S, _PATIENCE_S = 0.02, 60.0
#: The producer is killed when so much of the month has been computed.
_HALF = 0.5
#: The month in five seconds: as fast as it goes it may be over before anybody could be killed half-way.
_SPEED = "500000x"


@dataclass(slots=True)
class Runner:
    """A dry-run in a process of its own."""

    name: str
    command: Sequence[str]
    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it; what it prints goes to files in its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._said.open("wb") as said, self._printed.open("wb") as printed:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=printed, stderr=said)  # noqa: S603  (our own program)

    @property
    def _said(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _printed(self) -> Path:
        return self.folder / f"{self.name}.json"

    def finished(self) -> dict[str, Any]:
        """Wait for its end and return what it printed.

        Raises
        ------
        RunError
            It failed; says with which words.
        """
        if self.process.wait(_PATIENCE_S):
            raise RunError(f"{self.name} failed: {self._said.read_text()[-500:]}", hint="this is a fault of the demo")
        told: dict[str, Any] = json.loads(self._printed.read_text())
        return told


@dataclass(frozen=True, slots=True)
class Handover:
    """What became of the node that both strategies read when its producer was killed."""

    killed: str
    bucket: int
    successor: str
    seconds: float


def demo(
    out: Annotated[Path, typer.Option(help="Where results and reports go.")] = Path("qmtl-demo"),
    as_json: Json = False,
) -> None:
    """Run two strategies that share nodes on a month of Bitcoin minutes, kill one, and compare with back-tests."""
    from qmtl.cli.demonstration import STRATEGIES
    from qmtl.sdk.runner import Runner as Backtests

    began, data = time.perf_counter(), str(files("qmtl") / "data" / _MINUTES)
    tell = _silent if as_json else say
    tell("back-tests of two strategies over a month of Bitcoin minutes …")
    with compilations_told():
        backtests: list[Result] = Backtests.backtest(STRATEGIES, data={"price": data})
    span = backtests[0].provenance
    half = span["start"] + int(_HALF * (span["end"] - span["start"]))
    dryruns, handover = _played([one.strategy for one in backtests], data, out, half, tell)
    told = _told(backtests, dryruns, handover, out)
    told["seconds"] = round(time.perf_counter() - began, 3)
    if as_json:
        print_json(told)
    else:
        _print(backtests, told)
    if not (told["dryrun_equals_backtest"] and told["parity"]):
        raise typer.Exit(1)


def _silent(_: str) -> None:
    """Say nothing: only JSON is wanted."""


def _played(
    names: Sequence[str], data: str, out: Path, half: int, tell: Callable[[str], None]
) -> tuple[dict[str, dict[str, Any]], Handover]:
    """Run the strategies at once, kill the producer of what they share half-way, and start it again."""
    from qmtl.sdk.stack import Stack
    from qmtl.wire.client import GatewayClient

    tell(
        "the same two as dry-runs, each in a process of its own, a month in five seconds; "
        "they share what they have in common …"
    )
    with closing(Stack(out / "world", session_timeout_s=_TIMEOUT_S)) as stack:
        client = GatewayClient(stack.url)
        runners = [Runner(name, _command(name, data, stack.url, out), out / "world") for name in names]
        for runner in runners:
            runner.start()
        handover = _interrupted(runners, client, half, tell)
        told = {runner.name: runner.finished() for runner in runners}
    return told, handover


def _command(name: str, data: str, url: str, out: Path) -> list[str]:
    address = f"qmtl.cli.demonstration:{name}"
    options = [
        "--data",
        f"price={data}",
        "--speed",
        _SPEED,
        "--until-end",
        "--gateway-url",
        url,
        "--out",
        str(out / name),
    ]
    return [sys.executable, "-m", "qmtl", "dryrun", address, *options, "--json"]


def _interrupted(runners: Sequence[Runner], client: GatewayClient, half: int, tell: Callable[[str], None]) -> Handover:
    """Kill whoever computes the stream when half of it is through; return how it went on."""
    producer = _until(lambda: _producer(client, lambda node: node["last_bucket"] >= half))
    victim = next(one for one in runners if producer["host"].endswith(f":{one.process.pid}"))
    os.kill(victim.process.pid, signal.SIGKILL)
    killed_at, bucket = time.monotonic(), int(producer["last_bucket"])
    victim.process.wait()
    tell(f"kill -9 of {victim.name}, which computed what both read, at {format_time(bucket)}")
    _until(lambda: _producer(client, lambda node: node["epoch"] > producer["epoch"]))
    heir, seconds = next(one for one in runners if one is not victim), time.monotonic() - killed_at
    tell(f"{heir.name} went on with it {seconds:.1f} s later; {victim.name} starts again where it was …")
    victim.start()
    return Handover(victim.name, bucket, heir.name, round(seconds, 3))


def _producer(client: GatewayClient, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
    """Return how the price stream stands, if somebody produces it and it is as wanted."""
    for one in client.strategies():
        for node in client.strategy(one["strategy_id"])["nodes"]:
            if node["name"] == "price" and node["producer"] and node["last_bucket"] is not None and wanted(node):
                return dict(node)
    return None


def _until(look: Callable[[], T | None]) -> T:
    ends = time.monotonic() + _PATIENCE_S
    while (found := look()) is None:
        if time.monotonic() > ends:
            raise RunError("the dry-runs do not get on", hint="see the .log files in the demo's world folder")
        time.sleep(_LOOK_S)
    return found


def _told(
    backtests: Sequence[Result], dryruns: Mapping[str, Mapping[str, Any]], handover: Handover, out: Path
) -> dict[str, Any]:
    from qmtl.report.compare import compare
    from qmtl.report.result import Result
    from qmtl.report.storage import finite
    from qmtl.sdk.parity import certify

    graphs = {r.strategy: {node["node_id"] for node in r.graph["nodes"]} for r in backtests}
    unique, shared = set.union(*graphs.values()), set.intersection(*graphs.values())
    bars = next(iter(backtests[0].provenance["data"].values()))["bars"]
    return {
        "nodes": {name: len(ids) for name, ids in graphs.items()},
        "unique_nodes": len(unique),
        "shared_nodes": len(shared),
        "calls_saved": (sum(map(len, graphs.values())) - len(unique)) * bars,
        "bars": bars,
        "computed": {name: {k: n["computed"] for k, n in one["bars"].items()} for name, one in dryruns.items()},
        "read": {name: {k: n["read"] for k, n in one["bars"].items()} for name, one in dryruns.items()},
        "handover": asdict(handover),
        "metrics": {r.strategy: {name: finite(value) for name, value in r.metrics.items()} for r in backtests},
        "dryrun_equals_backtest": all(compare(r, Result.load(out / r.strategy)).equal for r in backtests),
        "parity": all(certify(out / name).equal for name in dryruns),
        "report": str(out / backtests[0].strategy / "report.html"),
        "reports": {r.strategy: str(out / r.strategy / "report.html") for r in backtests},
    }


def _print(backtests: Sequence[Result], told: Mapping[str, Any]) -> None:
    for result in backtests:
        print(result.summary(), end="\n\n")
    counts = " + ".join(str(count) for count in told["nodes"].values())
    print(f"{counts} nodes, {told['unique_nodes']} unique; bars that each process computed, and read from queues:")
    for line in _table(told["computed"], told["read"], {name for r in backtests for name in r.outputs}):
        print(f"  {line}")
    one = told["handover"]
    went_on = f"{one['successor']} went on {one['seconds']:.1f} s later"
    print(f"{one['killed']} was killed at {format_time(one['bucket'])}; {went_on}")
    print(f"dry-runs equal back-tests, to the bit: {'yes' if told['dryrun_equals_backtest'] else 'NO'}")
    print(f"what was recorded, computed again, is the same: {'yes' if told['parity'] else 'NO'}")
    print(f"{told['seconds']:.1f} s in all; open a report in a browser:")
    for page in told["reports"].values():
        print(f"  {page}")


def _table(
    computed: Mapping[str, Mapping[str, int]], read: Mapping[str, Mapping[str, int]], named: Container[str]
) -> Iterator[str]:
    """Yield a line for each node that has a name: how many bars each process computed, and how many it read."""
    yield f"{'':<12}" + "".join(f"{f'{name} computed':>18}{'read':>9}" for name in computed)
    for node in dict.fromkeys(node for counts in computed.values() for node in counts if node in named):
        cells = [(counts.get(node), read[name].get(node)) for name, counts in computed.items()]
        yield f"{node:<12}" + "".join(f"{'' if c is None else c:>18}{'' if r is None else r:>9}" for c, r in cells)
