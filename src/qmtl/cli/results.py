"""``qmtl report``, ``qmtl compare`` and ``qmtl parity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qmtl.cli.options import Json, print_json

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="What --out or Result.save wrote.")]


def report(
    directory: Directory,
    out: Annotated[Path | None, typer.Option(help="The page; DIR/report.html by default.")] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a stored result again."""
    from qmtl.report.result import Result

    result = Result.load(directory)
    page = result.report(out or directory / "report.html")
    if as_json:
        print_json({"strategy": result.strategy, "report": str(page)})
        return
    print(result.summary())
    print(f"  report: {page}")


def compare(a: Directory, b: Directory, as_json: Json = False) -> None:
    """Tell whether two stored results are equal to the bit; exit code 1 if not."""
    from qmtl.report.compare import compare as compared
    from qmtl.report.result import Result

    found = compared(Result.load(a), Result.load(b))
    if as_json:
        print_json({"equal": found.equal, "first_difference": found.first_difference})
    else:
        print("equal, to the bit" if found.equal else "first difference:")
        for name, value in (found.first_difference or {}).items():
            print(f"  {name}: {value}")
    if not found.equal:
        raise typer.Exit(1)


def parity(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What a dry-run wrote.")],
    strategy: Annotated[
        str | None, typer.Option(metavar="FILE:CLASS", help="The strategy, if it is not where the run found it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute and trade again what a dry-run recorded; exit code 1 unless all of it is equal to the bit."""
    from qmtl.sdk.parity import certify

    found = certify(directory, strategy)
    if as_json:
        rest = {"certificate": found.certificate} if found.equal else {"first_difference": found.first_difference}
        print_json({"equal": found.equal, **rest})
    else:
        print("equal, to the bit" if found.equal else "first difference:")
        for name, value in (found.certificate or found.first_difference or {}).items():
            print(f"  {name}: {value}")
    if not found.equal:
        raise typer.Exit(1)
