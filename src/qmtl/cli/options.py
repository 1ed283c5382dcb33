"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Address = Annotated[
    str, typer.Argument(metavar="FILE:CLASS", help="strategy.py:Class, package.module:Class or file.yaml")
]
Data = Annotated[list[str], typer.Option("--data", metavar="STREAM=PATH", help="Bars of a stream; repeat for more.")]
Start = Annotated[str | None, typer.Option("--start", help="First bucket: ISO 8601 or seconds UTC.")]
End = Annotated[str | None, typer.Option("--end", help="End of the span, exclusive.")]
OnMissing = Annotated[str, typer.Option("--on-missing", metavar="skip|fill|fail", help="What a missing bar does.")]
Engine = Annotated[str, typer.Option("--engine", metavar="batch|stream", help="Driver; both give the same bits.")]
CalendarName = Annotated[str, typer.Option("--calendar", help="24/7, or a name such as XNYS.")]
Out = Annotated[Path | None, typer.Option("--out", help="Directory for tables, JSON and the report.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(content: Any) -> None:
    """Print JSON on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Print a line for people on standard error, which leaves standard output to results."""
    print(text, file=sys.stderr, flush=True)
