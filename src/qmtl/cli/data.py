"""``qmtl data list | import | gaps``: files of bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.cli.options import CalendarName, Json, print_json
from qmtl.errors import QmtlError, SourceNotFoundError, UsageError

if TYPE_CHECKING:
    from qmtl.frame import Frame

app = typer.Typer(help="Look at, import and check files of bars.", no_args_is_help=True, rich_markup_mode=None)
Interval = Annotated[str | None, typer.Option("--interval", help="Length of a bar; the commonest step by default.")]
Bars = Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file of bars.")]


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look.")] = Path(),
    as_json: Json = False,
) -> None:
    """List the files of bars in a folder."""
    if not folder.is_dir():
        raise SourceNotFoundError(
            f"there is no directory {str(folder)!r}", hint="give a directory of CSV or Parquet files"
        )
    found = [_described(path) for path in sorted(folder.iterdir()) if path.suffix in (".parquet", ".csv")]
    if as_json:
        print_json(found)
        return
    for entry in found:
        if "error" in entry:
            print(f"{entry['file']:<32} not bars: {entry['error']}")
        else:
            span = f"{entry['start'][:16]} – {entry['end'][:16]}"
            fields = ", ".join(entry["fields"])
            print(f"{entry['file']:<32} {entry['interval']:>4} {entry['bars']:>9,} bars  {span}  {fields}")
    if not found:
        print(f"no CSV or Parquet file in {folder}")


@app.command("import")
def import_(
    source: Bars,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The Parquet file to write.")],
    interval: Interval = None,
    as_json: Json = False,
) -> None:
    """Check a file of bars and write it as Parquet: sorted, on the grid, complete rows."""
    import io

    import pyarrow as pa
    import pyarrow.parquet

    from qmtl.report.storage import write_bytes

    if target.suffix != ".parquet":
        raise UsageError(f"{str(target)!r} is not a Parquet file", hint="give a name that ends with .parquet")
    frame = _frame(source, interval)
    buffer = io.BytesIO()
    columns = {"ts": frame.ts} | {name: values[:, 0] for name, values in frame.columns.items()}
    pyarrow.parquet.write_table(pa.table(columns), buffer, compression="zstd")
    write_bytes(target, buffer.getvalue())
    made = _summary(target, frame)
    if as_json:
        print_json(made)
    else:
        print(f"{made['bars']:,} bars of {made['interval']} from {made['start']} to {made['end']} written to {target}")


@app.command()
def gaps(file: Bars, interval: Interval = None, calendar: CalendarName = "24/7", as_json: Json = False) -> None:
    """List the missing bars of a file."""
    from qmtl.calendars import Calendar
    from qmtl.interval import covered, format_time

    frame = _frame(file, interval)
    found = Calendar(calendar).gaps(frame.ts, frame.interval, covered(frame.ts, frame.interval))
    bars = sum(len(gap) for gap in found) // frame.interval
    if as_json:
        entries = [{"start": g.start, "end": g.end, "bars": len(g) // frame.interval} for g in found]
        print_json(
            {"file": str(file), "interval": frame.interval, "bars": len(frame), "missing": bars, "gaps": entries}
        )
        return
    for gap in found:
        print(f"{format_time(gap.start)}  {format_time(gap.end)}  {len(gap) // frame.interval:>7,} bars")
    print(f"{bars:,} bars missing in {len(found):,} gaps; {len(frame):,} are there ({calendar})")


def _described(path: Path) -> dict[str, Any]:
    try:
        return _summary(path, _frame(path, None))
    except QmtlError as error:
        return {"file": path.name, "error": error.message}


def _summary(path: Path, frame: Frame) -> dict[str, Any]:
    from qmtl.interval import format_interval, format_time

    return {
        "file": path.name,
        "interval": format_interval(frame.interval),
        "bars": len(frame),
        "start": format_time(int(frame.ts[0])),
        "end": format_time(int(frame.ts[-1]) + frame.interval),
        "fields": list(frame.fields),
    }


def _frame(path: Path, interval: str | None) -> Frame:
    """Read bars; without an interval, take the commonest step between them."""
    import numpy as np

    from qmtl.interval import parse_interval
    from qmtl.sdk.tables import read_table
    from qmtl.sdk.validation import checked

    table = read_table(path, str(path))
    if interval is not None:
        return checked(table, name=str(path), interval=parse_interval(interval), symbols=None)
    seconds = checked(table, name=str(path), interval=1, symbols=None)
    steps, counts = np.unique(np.diff(seconds.ts), return_counts=True)
    if not len(steps):
        raise UsageError(f"{path}: one bar does not say how long it is", hint="give --interval")
    return checked(table, name=str(path), interval=int(steps[counts.argmax()]), symbols=None)
