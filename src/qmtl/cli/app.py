"""All commands in one application."""

from __future__ import annotations

from typing import Annotated

import typer

from qmtl import __version__
from qmtl.cli import check, data, graphs, project, results, runs

app = typer.Typer(
    help="Trading strategies as graphs of nodes: identified by content, computed once, equal to the bit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:  # noqa: FBT001  (the form of a typer callback)
    if wanted:
        print(f"qmtl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")] = False,
) -> None:
    """Exit codes: 0 done, 1 failed, 2 usage, 3 not reachable."""


for _command in (
    project.demo, project.init, runs.backtest, runs.offline, graphs.graph, graphs.diff, graphs.lint,
):  # fmt: skip
    app.command()(_command)
app.add_typer(check.app, name="check")
for _command in (results.report, results.compare):
    app.command()(_command)
app.add_typer(data.app, name="data")
app.command()(project.doctor)
