"""``qmtl backtest`` and ``qmtl offline``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.cli.options import (
    Address,
    CalendarName,
    Data,
    End,
    Engine,
    Json,
    OnMissing,
    Out,
    Start,
    print_json,
    say,
)

if TYPE_CHECKING:
    from qmtl.report.result import Result


def backtest(
    strategy: Address,
    data: Data = [],  # noqa: B006  (typer copies it)
    start: Start = None,
    end: End = None,
    on_missing: OnMissing = "skip",
    engine: Engine = "batch",
    calendar: CalendarName = "24/7",
    cash: Annotated[float | None, typer.Option(help="Money at the start, instead of the strategy's.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Run a strategy over history and trade its targets."""
    options = {"on_missing": on_missing, "engine": engine, "calendar": calendar, "cash": cash}
    _run("backtest", strategy, data, start, end, options, out, as_json=as_json)


def offline(
    strategy: Address,
    data: Data = [],  # noqa: B006  (typer copies it)
    start: Start = None,
    end: End = None,
    on_missing: OnMissing = "skip",
    engine: Engine = "batch",
    calendar: CalendarName = "24/7",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Compute the nodes of a strategy over history, without trading."""
    options = {"on_missing": on_missing, "engine": engine, "calendar": calendar}
    _run("offline", strategy, data, start, end, options, out, as_json=as_json)


def _run(
    mode: str,
    address: str,
    data: list[str],
    start: str | None,
    end: str | None,
    options: dict[str, Any],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    from qmtl.sdk.loader import bindings, load_strategy
    from qmtl.sdk.runner import Runner

    run = Runner.backtest if mode == "backtest" else Runner.offline
    with compilations_told(), progress_shown() as progress:
        result = run(
            load_strategy(address), data=bindings(data), start_time=start, end_time=end, on_progress=progress, **options
        )
    if out is not None:
        result.save(out)
    if as_json:
        print_json(described(result, out))
        return
    print(result.summary())
    if out is not None:
        print(f"  written to {out}; open {out / 'report.html'}")


def described(result: Result, out: Path | None) -> dict[str, Any]:
    """Return ids, measures and places of a result as JSON data."""
    from qmtl.report.storage import finite

    return {
        "strategy": result.strategy,
        "node_ids": dict(result.node_ids),
        "warmup": dict(result.warmup),
        "outputs": {name: len(result.outputs[name]) for name in result.outputs},
        "metrics": {name: finite(value) for name, value in result.metrics.items()},
        "basis": result.metrics.basis,
        "notes": result.metrics.notes,
        "gaps": {"stretches": len(result.gaps), "bars": sum(gap["bars"] for gap in result.gaps)},
        "provenance": result.provenance,
        "out": None if out is None else str(out),
        "report": None if out is None else str(out / "report.html"),
    }


@contextmanager
def compilations_told() -> Iterator[None]:
    """Say once that kernels are compiled: the first time on a machine takes seconds."""
    from qmtl.engine.codegen import on_compile

    told: list[str] = []

    def tell(operator: str) -> None:
        if not told:
            say("compiling kernels: once on this machine, some seconds …")
        told.append(operator)

    on_compile.append(tell)
    try:
        yield
    finally:
        on_compile.remove(tell)


@contextmanager
def progress_shown() -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on standard error if a person looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), "bars", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("bars", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
