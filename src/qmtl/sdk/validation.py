"""Strict checks of bars: what is wrong, in which row, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.errors import DataFormatError
from qmtl.frame import Frame
from qmtl.interval import LATEST, format_interval, format_time

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_NOT_VALUES = ("ts", "symbol")
#: Names that others give to the time of a bar.
_ALIASES = ("timestamp", "time", "date", "datetime", "open_time", "index", "Date")


def checked(
    table: pa.Table, *, name: str, interval: int, symbols: tuple[str, ...] | None, allow_nan: bool = False
) -> Frame:
    """Return the bars of a table, or say what is wrong with them.

    Parameters
    ----------
    table : pyarrow.Table
        Column ``ts`` (int64 seconds UTC, or times with a zone), numeric columns, and ``symbol`` in a universe.
    name : str
        What errors call it.
    interval : int
        Seconds of a bucket.
    symbols : tuple of str, optional
        Names along S; rows of other symbols are ignored.
    allow_nan : bool
        Whether a value may be absent: in a universe NaN says that a symbol has no bar.

    Raises
    ------
    DataFormatError
        Empty, a column missing, times without zone, unsorted, duplicated or off the grid, NaN, text for numbers.
    """
    ts = _seconds(table, name)
    columns = {c: _numbers(table, c, name) for c in table.column_names if c not in _NOT_VALUES}
    if not columns:
        raise DataFormatError(f"{name}: there is no column besides 'ts'", hint="bars need values, such as 'close'")
    if not len(ts):
        raise DataFormatError(f"{name}: there are no rows", hint="check the source and the asked span")
    if "symbol" in table.column_names:
        return _universe(ts, table["symbol"].to_pylist(), columns, name=name, interval=interval, symbols=symbols)
    if symbols is not None and len(symbols) != 1:
        raise DataFormatError(
            f"{name}: the stream has {len(symbols)} symbols, but the data have no column 'symbol'",
            hint="add the column, or give a dict of symbol to frame",
        )
    check_times(ts, interval, name)
    if not allow_nan:
        _check_finite(columns, ts, name)
    return Frame(ts, {c: _as_column(v) for c, v in columns.items()}, interval, symbols)


def check_times(ts: NDArray[np.int64], interval: int, name: str) -> None:
    """Check that bucket starts are seconds, increase strictly and lie on the grid.

    Raises
    ------
    DataFormatError
        Names the first row that is wrong, and the remedy.
    """
    worst = int(np.abs(ts[[0, -1]]).max())
    if worst > LATEST:
        raise DataFormatError(f"{name}: row 0: ts {ts[0]} looks like milliseconds", hint="ts // 1000 gives seconds")
    steps = np.diff(ts)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        if steps[row - 1] == 0:
            raise DataFormatError(
                f"{name}: row {row} repeats ts {ts[row]} ({format_time(int(ts[row]))})",
                hint='keep one bar of each bucket, such as df.drop_duplicates("ts", keep="last")',
            )
        raise DataFormatError(
            f"{name}: row {row} has ts {ts[row]}, before row {row - 1} with {ts[row - 1]}",
            hint='sort the bars: df.sort_values("ts")',
        )
    if len(steps) and steps.min() == steps.max() == interval and ts[0] % interval == 0:
        return  # the usual case, without a division for each bar
    off = ts % interval
    if off.any():
        row = int(np.argmax(off != 0))
        raise DataFormatError(
            f"{name}: row {row}: ts {ts[row]} ({format_time(int(ts[row]))}) is not the start of a "
            f"{format_interval(interval)} bucket",
            hint="ts - ts % interval gives bucket starts; is the interval of the stream that of the data?",
        )


def _seconds(table: pa.Table, name: str) -> NDArray[np.int64]:
    import pyarrow as pa

    if "ts" not in table.column_names:
        other = next((a for a in _ALIASES if a in table.column_names), None)
        known = ", ".join(table.column_names)
        rename = f"rename {other!r} to 'ts'" if other else f"columns are: {known}"
        raise DataFormatError(f"{name}: there is no column 'ts'", hint=rename)
    column = table["ts"]
    if column.null_count:
        row = next(k for k, v in enumerate(column.to_pylist()) if v is None)
        raise DataFormatError(f"{name}: row {row} has no ts", hint="drop the row")
    if pa.types.is_timestamp(column.type):
        return _from_moments(column, name)
    if not pa.types.is_integer(column.type):
        raise DataFormatError(
            f"{name}: column 'ts' is {column.type}",
            hint="bucket starts are int64 seconds UTC, or times with a zone",
        )
    return np.asarray(column.to_numpy(), np.int64)


def _from_moments(column: Any, name: str) -> NDArray[np.int64]:
    if column.type.tz is None:
        raise DataFormatError(
            f"{name}: the times in 'ts' have no zone", hint='say which it is: df["ts"].dt.tz_localize("UTC")'
        )
    ticks = column.cast("int64").to_numpy()
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    odd = ticks % per_second
    if odd.any():
        row = int(np.argmax(odd != 0))
        raise DataFormatError(f"{name}: row {row}: ts is not a whole second", hint="bars start on whole seconds")
    return np.asarray(ticks // per_second, np.int64)


def _numbers(table: pa.Table, column: str, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    values = table[column]
    kind = values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataFormatError(
            f"{name}: column {column!r} is {kind}, not numbers",
            hint=f'drop it (df.drop(columns="{column}")) or convert it',
        )
    return np.asarray(values.to_numpy(), np.float64)


def _check_finite(columns: dict[str, NDArray[np.float64]], ts: NDArray[np.int64], name: str) -> None:
    for column, values in columns.items():
        # A sum is finite unless some value is not (or it overflows): one pass without a mask.
        if not np.isfinite(values.sum()) and not (finite := np.isfinite(values)).all():
            row = int(np.argmin(finite))
            raise DataFormatError(
                f"{name}: row {row} ({format_time(int(ts[row]))}): {column!r} is {values[row]}",
                hint="drop the bar: a missing bar is a gap, and on_missing= says what a gap does",
            )


def _universe(
    ts: NDArray[np.int64],
    labels: list[Any],
    columns: dict[str, NDArray[np.float64]],
    *,
    name: str,
    interval: int,
    symbols: tuple[str, ...] | None,
) -> Frame:
    present = list(dict.fromkeys(labels))
    if symbols is None and len(present) > 1:
        raise DataFormatError(
            f"{name}: the data have {len(present)} symbols, but the stream has none",
            hint=f"StreamInput(…, symbols={present[:3]!r})",
        )
    wanted = symbols or tuple(present)
    if absent := [s for s in wanted if s not in present]:
        raise DataFormatError(f"{name}: there are no rows of symbol {absent[0]!r}", hint=f"symbols are: {present[:12]}")
    of_symbol = np.array([wanted.index(label) if label in wanted else -1 for label in labels])
    parts = {}
    for k, symbol in enumerate(wanted):
        rows = of_symbol == k
        check_times(ts[rows], interval, f"{name}, symbol {symbol!r}")
        parts[symbol] = Frame(ts[rows], {c: _as_column(v[rows]) for c, v in columns.items()}, interval)
    return joined(parts, interval) if symbols is not None else next(iter(parts.values()))


def joined(parts: dict[str, Frame], interval: int) -> Frame:
    """Return frames of one symbol each as one universe; NaN where a symbol has no bar."""
    ts = np.unique(np.concatenate([part.ts for part in parts.values()]))
    fields = dict.fromkeys(field for part in parts.values() for field in part.fields)
    columns = {field: np.full((len(ts), len(parts)), np.nan) for field in fields}
    for k, part in enumerate(parts.values()):
        rows = np.searchsorted(ts, part.ts)
        for field, values in part.columns.items():
            columns[field][rows, k] = values[:, 0]
    return Frame(ts, columns, interval, tuple(parts))


def _as_column(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(values).reshape(-1, 1)
