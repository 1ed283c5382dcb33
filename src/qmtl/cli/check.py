"""``qmtl check lookahead | determinism | warmup``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from qmtl.cli.options import Address, Data, End, Json, Start, print_json, say
from qmtl.cli.runs import compilations_told

if TYPE_CHECKING:
    from qmtl.testing.worlds import Findings

app = typer.Typer(help="Prove a strategy's hygiene.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def lookahead(
    strategy: Address,
    data: Data = [],  # noqa: B006  (typer copies it)
    start: Start = None,
    end: End = None,
    as_json: Json = False,
) -> None:
    """Prove that no output depends on later bars, on the clock, or on earlier runs; exit code 1 if one does."""
    from qmtl.testing.lookahead import check

    _run(check, strategy, data, start, end, as_json=as_json)


@app.command()
def determinism(
    strategy: Address,
    data: Data = [],  # noqa: B006  (typer copies it)
    start: Start = None,
    end: End = None,
    as_json: Json = False,
) -> None:
    """Prove that other processes, hash seeds and drivers give the same bits; exit code 1 if not."""
    from qmtl.testing.determinism import check

    _run(check, strategy, data, start, end, as_json=as_json)


@app.command()
def warmup(
    strategy: Address,
    data: Data = [],  # noqa: B006  (typer copies it)
    start: Start = None,
    end: End = None,
    as_json: Json = False,
) -> None:
    """Prove that the derived warm-up is enough, from several starts; exit code 1 if not."""
    from qmtl.testing.warmup import check

    _run(check, strategy, data, start, end, as_json=as_json)


def _run(
    check: Callable[..., Findings],
    strategy: str,
    data: list[str],
    start: str | None,
    end: str | None,
    *,
    as_json: bool,
) -> None:
    from qmtl.sdk.loader import bindings

    with compilations_told():
        _tell(check(strategy, bindings(data), start, end), as_json=as_json)


def _tell(findings: Findings, *, as_json: bool) -> None:
    from qmtl.interval import format_time

    if as_json:
        print_json(
            {"clean": findings.clean, "checked": findings.checked, "findings": [vars(f) for f in findings.found]}
        )
    else:
        for finding in findings.found:
            when = "" if finding.ts is None else f" at {format_time(finding.ts)}"
            print(f"{finding.kind}: node {finding.node!r}{when}: {finding.evidence}")
        if findings.clean:
            print(f"clean: {findings.checked}")
        else:
            say(f"{len(findings.found)} found; checked: {findings.checked}")
    if not findings.clean:
        raise typer.Exit(1)
