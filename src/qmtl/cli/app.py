"""All commands in one application."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer

from qmtl.cli import check, control, dagm, data, demo, doctor, gateway, graphs, live, project, results, runs, up

app = typer.Typer(
    help="Trading strategies as graphs of nodes: identified by content, computed once, equal to the bit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"qmtl {version_of('qmtl')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Exit codes: 0 done, 1 failed, 2 usage, 3 not reachable."""


_FIRST: tuple[Callable[..., Any], ...] = (
    demo.demo, project.init, runs.backtest, runs.offline, live.dryrun, live.live,
    graphs.graph, graphs.diff, graphs.lint,
)  # fmt: skip
for _command in _FIRST:
    app.command()(_command)
app.add_typer(check.app, name="check")
app.command()(results.report)
app.command()(results.compare)
app.command()(results.parity)
app.add_typer(data.app, name="data")
app.command()(doctor.doctor)
app.command()(gateway.gateway)
app.add_typer(dagm.app, name="dagm")
for _command in (up.up, control.submit, control.status, control.stop, control.nodes, control.queues):
    app.command()(_command)
