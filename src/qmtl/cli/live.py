"""``qmtl dryrun`` and ``qmtl live``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.cli.options import CalendarName, End, Json, OnMissing, Start, print_json, say
from qmtl.cli.running import progress_told
from qmtl.cli.runs import compilations_told, described
from qmtl.errors import RunError, unknown_name
from qmtl.telemetry.logs import configure

if TYPE_CHECKING:
    from qmtl.report.result import Result
    from qmtl.sdk.handle import Handle

Addresses = Annotated[
    list[str], typer.Argument(metavar="FILE:CLASS …", help="Strategies of this process; they share what they can.")
]
Feeds = Annotated[
    list[str],
    typer.Option("--data", metavar="STREAM=SOURCE", help="File to play again, kafka://…/topic, generate://gbm?…"),
]
Speed = Annotated[str, typer.Option("--speed", metavar="max|60x|1x", help="How fast recorded bars are played.")]
UntilEnd = Annotated[bool, typer.Option("--until-end", help="End where the recorded bars end.")]
Faults = Annotated[str, typer.Option("--faults", metavar="late=0.01,…", help="Faults to inject into recorded bars.")]
Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway-url", envvar="QMTL_GATEWAY_URL", help="Share with all at this Gateway; else a stack of its own."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the result; a run that was cut off there goes on.")]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=0, max=65535, help="Serve /metrics there on 127.0.0.1; 0: any.")
]
MemoryLimit = Annotated[
    float | None, typer.Option("--memory-limit", metavar="MIB", help="End in order when the process takes more.")
]
LogLevel = Annotated[
    str | None, typer.Option("--log-level", metavar="debug|info|warning|error", help="Log as JSON on standard error.")
]
Cash = Annotated[float | None, typer.Option(help="Money at the start, instead of the strategy's.")]

#: Seconds that a stop may take before what is running is given up.
_STOP_S = 3.0


def _command(mode: str, text: str) -> Callable[..., None]:
    def command(
        strategies: Addresses,
        data: Feeds = [],  # noqa: B006  (typer copies it)
        speed: Speed = "1x",
        until_end: UntilEnd = False,
        start: Start = None,
        end: End = None,
        on_missing: OnMissing = "skip",
        calendar: CalendarName = "24/7",
        cash: Cash = None,
        faults: Faults = "",
        gateway_url: Gateway = None,
        out: Out = None,
        metrics_port: MetricsPort = None,
        memory_limit: MemoryLimit = None,
        log_level: LogLevel = None,
        as_json: Json = False,
    ) -> None:
        options = {
            "start_time": start, "end_time": end, "speed": speed, "until_end": until_end, "on_missing": on_missing,
            "calendar": calendar, "cash": cash, "faults": faults, "gateway_url": gateway_url, "out": out,
            "metrics_port": metrics_port, "memory_limit": memory_limit,
        }  # fmt: skip
        if log_level is not None:
            configure(_level(log_level))
        _run(mode, strategies, data, options, as_json=as_json)

    command.__name__, command.__doc__ = mode, text
    return command


dryrun = _command(
    "dryrun", "Run strategies on bars as they come, with paper money; what others compute is read from their queues."
)
live = _command(
    "live", "Run strategies live. Orders cannot be sent yet: a strategy that trades is refused, and told so."
)


def _level(name: str) -> str:
    known = ("debug", "info", "warning", "error")
    if name not in known:
        raise unknown_name("--log-level", name, known)
    return name


def _run(mode: str, strategies: list[str], data: list[str], options: dict[str, Any], *, as_json: bool) -> None:
    from qmtl.sdk.loader import bindings, load_strategy
    from qmtl.sdk.runner import Runner

    begin: Callable[..., Handle] = Runner.dryrun if mode == "dryrun" else Runner.live
    with compilations_told(), interruptions():
        classes = [load_strategy(address) for address in strategies]
        handle = _begun(begin, classes, data=bindings(data), address=strategies, **options)
        results, stopped = _waited(handle)
    pairs = [*zip(results, handle.places, strict=True)]
    for result, place in pairs:
        if place is not None:
            say(f"{result.strategy}: saved in {place}")
    if as_json:
        told = [_described(result, place) for result, place in pairs]
        print_json(told[0] if len(told) == 1 else {"strategies": told})
    else:
        for result, _ in pairs:
            _print(result)
    for name, why in handle.faults.items():
        say(f"error: {name} was quarantined: {why}")
    if stopped or handle.faults:
        raise typer.Exit(stopped or 1)


def _begun(begin: Callable[..., Handle], *given: Any, **options: Any) -> Handle:
    """Start, or say that nothing was."""
    try:
        return begin(*given, **options)
    except Interrupted as signalled:
        say("stopped before it began; nothing was written")
        raise SystemExit(128 + signalled.number) from None


def _waited(handle: Handle) -> tuple[list[Result], int]:
    """Wait for the end or for a signal; return results and the exit code of the signal."""
    try:
        with progress_told(handle):
            return handle.wait(), 0
    except Interrupted as signalled:
        return _stopped(handle, 128 + signalled.number)


def _stopped(handle: Handle, code: int) -> tuple[list[Result], int]:
    """End in order if that goes quickly; say what was saved."""
    say("stopping …")
    again = "" if handle.places[0] is None else "; the same command goes on from there"
    try:
        results = handle.stop(_STOP_S)
    except RunError as error:
        kept = f"saved up to the last commit{again}" if again else "without --out, nothing is kept"
        say(f"{error.message}: {kept}")
        sys.stdout.flush()
        handle.abandon()
        raise SystemExit(code) from None
    through = handle.status()["through"]
    say(f"stopped; everything that ended by {through} is in the result{again}")
    return results, code


class Interrupted(Exception):  # noqa: N818  (it is not an error)
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@contextmanager
def interruptions() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into :class:`Interrupted` in the main thread; a second one ends at once."""

    def told(number: int, _: Any) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        raise Interrupted(number)

    before = {one: signal.signal(one, told) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _described(result: Result, place: Path | None) -> dict[str, Any]:
    ran = result.provenance
    ids = {"strategy_id": ran["strategy_id"], "session_id": ran["session"]["session_id"]}
    return {**described(result, place), **ids, "bars": ran["nodes"]}


def _print(result: Result) -> None:
    print(result.summary())
    print(f"  {'bars of nodes':<22} {'computed here':>13}  {'read from its queue':>19}")
    for name, counts in result.provenance["nodes"].items():
        print(f"    {name:<20} {counts['computed']:>13,}  {counts['read']:>19,}")
