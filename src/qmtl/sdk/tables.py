"""Whatever users keep bars in, as an Arrow table: files, and frames of pandas, polars and Arrow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.errors import DataFormatError, SourceNotFoundError

if TYPE_CHECKING:
    import pyarrow as pa

_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv"}
_KNOWN = "a path of a .parquet or .csv file, a pandas, polars or Arrow frame, a dict of these by symbol, or an object with fetch()"  # noqa: E501


def read_table(source: Any, name: str) -> pa.Table:
    """Return a source as an Arrow table, without copying numbers where that is possible.

    Parameters
    ----------
    source : path, str or frame
        A CSV or Parquet file; a pandas, polars or Arrow frame. The index of a pandas frame counts as column
        ``ts`` if it is called so or holds times.
    name : str
        What errors call it.

    Raises
    ------
    SourceNotFoundError
        No such file.
    DataFormatError
        Neither a frame nor a file that can be read.
    """
    if isinstance(source, (str, Path)):
        return _read_file(Path(source), name)
    return _from_frame(source, name)


def _read_file(path: Path, name: str) -> pa.Table:
    import pyarrow as pa

    kind = _SUFFIXES.get("".join(path.suffixes[-2:])) or _SUFFIXES.get(path.suffix)
    if kind is None:
        raise DataFormatError(f"{name}: {str(path)!r} is of no known kind", hint=f"known: {', '.join(_SUFFIXES)}")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob(f"*{path.suffix}"))[:5] if path.parent.is_dir() else []
        there = f"; in that directory: {', '.join(near)}" if near else ""
        raise SourceNotFoundError(f"{name}: there is no file {str(path)!r}", hint=f"check the path{there}")
    try:
        if kind == "csv":
            import pyarrow.csv

            return pyarrow.csv.read_csv(path)
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path, use_threads=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).strip().splitlines()[0]
        raise DataFormatError(f"{name}: {str(path)!r} is no readable {kind}: {first}") from error


def _from_frame(source: Any, name: str) -> pa.Table:
    import narwhals as nw

    try:
        frame = nw.from_native(_with_index(source), eager_only=True)
    except TypeError:
        raise DataFormatError(
            f"{name}: cannot read bars from {type(source).__name__!r}", hint=f"give {_KNOWN}"
        ) from None
    try:
        return frame.to_arrow()
    except Exception as error:  # every library has its own errors for a column of mixed types
        raise DataFormatError(f"{name}: cannot read the frame: {str(error).splitlines()[0]}") from error


def _with_index(source: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(source, pandas.DataFrame):
        return source
    if "ts" in source.columns:
        return source.reset_index(drop=True)
    if source.index.name == "ts" or isinstance(source.index, pandas.DatetimeIndex):
        return source.rename_axis("ts").reset_index()
    return source
