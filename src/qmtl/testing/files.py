"""Files as a world has them: bars with another future, and files that are not there."""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

import numpy as np

from qmtl.engine.codegen import cache_dir

if TYPE_CHECKING:
    import pyarrow as pa

    from qmtl.testing.worlds import World

#: Readers that open a file outside of Python's own ``open``, by module.
_READERS = {
    "pandas": ("read_parquet", "read_csv", "read_feather", "read_table", "read_orc"),
    "pyarrow": ("memory_map", "OSFile"),
    "pyarrow.parquet": ("read_table", "ParquetFile", "read_pandas"),
    "pyarrow.csv": ("read_csv", "open_csv"),
    "pyarrow.dataset": ("dataset",),
    "pyarrow.feather": ("read_table", "read_feather"),
    "polars": ("read_parquet", "scan_parquet", "read_csv", "scan_csv", "read_ipc"),
    "numpy": ("load", "loadtxt", "genfromtxt", "fromfile", "memmap"),
}
_BARS = (".parquet", ".pq", ".csv")
_TIMES = ("ts", "timestamp", "time", "date", "datetime", "open_time")
_SILENT = ("/proc/", "/dev/", "/sys/", "/usr/", "/etc/")


def readers_loaded() -> frozenset[str]:
    """Return the libraries in use that open files past Python's own ``open``."""
    return frozenset(_READERS) & sys.modules.keys()


class Files:
    """Patches what opens files, for as long as it is entered; what is written goes to a folder of its own.

    Parameters
    ----------
    world : World
        Says what becomes of the bars from a time on, and which files are hidden.

    Attributes
    ----------
    read : set of str
        Files of the user that were read, beside code and bars.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.read: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="qmtl-world-"))
        self._stands_for: dict[str, str] = {}  # path to the file that it is in this world
        self._gone = set(world.hidden)
        self._patches: list[Any] = []
        self._busy = False
        roots = {sysconfig.get_path(k) for k in ("stdlib", "purelib", "platlib")}
        roots |= {sys.prefix, str(self._folder), str(cache_dir())}
        self._silent = (*_SILENT, *(os.path.realpath(root) + os.sep for root in roots))

    def __enter__(self) -> Self:
        targets: list[tuple[Any, str, Any]] = [(builtins, "open", self._open), (io, "open", self._open)]
        targets += [(os, name, self._two_paths) for name in ("replace", "rename")]
        targets += [(os, name, self._removed) for name in ("remove", "unlink")]
        targets.append((os, "stat", self._seen))
        for module in readers_loaded() | self.world.libraries:
            targets += [(importlib.import_module(module), name, self._opened) for name in _READERS[module]]
        for owner, name, wrap in targets:
            patch = mock.patch.object(owner, name, wrap(getattr(owner, name)))
            patch.start()
            self._patches.append(patch)
        return self

    def __exit__(self, *_: object) -> None:
        for patch in reversed(self._patches):
            patch.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what the patched functions do ---------------------------------------------------------

    def _open(self, opener: Callable[..., Any]) -> Callable[..., Any]:
        def open_(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if set(mode) & set("wax+") and self._is_path(file):
                return opener(self._writable(os.path.realpath(file)), mode, *arguments, **options)
            return opener(self._readable(file), mode, *arguments, **options)

        return open_

    def _opened(self, reader: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(reader, updated=())
        def read(*arguments: Any, **options: Any) -> Any:
            if not arguments:
                return reader(**options)
            return reader(self._readable(arguments[0]), *arguments[1:], **options)

        return read

    def _seen(self, stat: Callable[..., Any]) -> Callable[..., Any]:
        def seen(path: Any, **options: Any) -> Any:
            if not self._is_path(path):
                return stat(path, **options)
            real = os.path.realpath(path)
            if real in self._gone:
                raise FileNotFoundError(2, "No such file or directory", real)
            return stat(self._stands_for.get(real, path), **options)

        return seen

    def _two_paths(self, move: Callable[..., Any]) -> Callable[..., Any]:
        def moved(source: Any, target: Any, **options: Any) -> Any:
            old = os.path.realpath(source)
            if old not in self._stands_for:
                return move(source, target, **options)
            kept, made = self._stands_for.pop(old), self._writable(os.path.realpath(target))
            return move(kept, made, **options)

        return moved

    def _removed(self, remove: Callable[..., Any]) -> Callable[..., Any]:
        def removed(path: Any, **options: Any) -> Any:
            real = os.path.realpath(path)
            if self._busy or real.startswith(self._silent):
                return remove(path, **options)
            if self._stands_for.pop(real, None) is None and not Path(real).exists():
                raise FileNotFoundError(2, "No such file or directory", real)
            self._gone.add(real)  # in this world only
            return None

        return removed

    # --- which file a path is in this world ----------------------------------------------------

    def _is_path(self, given: Any) -> bool:
        return not self._busy and isinstance(given, (str, os.PathLike))

    def _writable(self, path: str) -> str:
        """Return where a file of the user is written to: never to its real place."""
        if path.startswith(self._silent):
            return path
        if path not in self._stands_for:
            self._stand_in(path, self._written)
        self._gone.discard(path)
        return self._stands_for[path]

    def _readable(self, given: Any) -> Any:
        """Return what a file is in this world: itself, what was written, or a copy with another future."""
        if not self._is_path(given):
            return given
        path = os.path.realpath(given)
        if path in self._gone:
            raise FileNotFoundError(2, "No such file or directory", path)
        if path in self._stands_for:
            return self._stands_for[path]
        if path.startswith(self._silent) or path.endswith((".py", ".pyc", ".yaml", ".yml")) or not Path(path).is_file():
            return given
        if not path.endswith(_BARS):
            self.read.add(path)
        elif self.world.future != "as it is":
            return self._stand_in(path, self._copied)
        return given

    def _stand_in(self, path: str, make: Callable[[str], str]) -> str:
        """Let another file stand for a path; our own reading and writing is not the strategy's."""
        self._busy = True
        try:
            self._stands_for[path] = make(path)
        finally:
            self._busy = False
        return self._stands_for[path]

    def _target(self, path: str) -> Path:
        return self._folder / f"{len(self._stands_for)}-{Path(path).name}"

    def _written(self, path: str) -> str:
        copy = self._target(path)
        if path not in self._gone and Path(path).is_file():
            shutil.copy(path, copy)
        return str(copy)

    def _copied(self, path: str) -> str:
        import pyarrow.csv
        import pyarrow.parquet

        is_csv = path.endswith(".csv")
        table = pyarrow.csv.read_csv(path) if is_csv else pyarrow.parquet.read_table(path)
        times = _times(table)
        if times is None:
            return path
        target = str(self._target(path))
        changed = another_future(table, times >= self.world.cut, cut_off=self.world.future == "cut off")
        (pyarrow.csv.write_csv if is_csv else pyarrow.parquet.write_table)(changed, target)
        return target


def _times(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return the times of the rows in seconds, or None if the table has none."""
    import pyarrow as pa

    name = next((c for c in table.column_names if c.lower() in _TIMES), None)
    if name is None:
        return None
    column = table[name]
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("s", column.type.tz), safe=False).cast("int64").to_numpy())
    if not pa.types.is_integer(column.type):
        return None
    values = np.asarray(column.to_numpy(), np.int64)
    largest = int(np.abs(values).max(initial=1))
    unit = next(
        unit for limit, unit in ((10**11, 1), (10**14, 10**3), (10**17, 10**6), (2**63, 10**9)) if largest < limit
    )
    return values // unit


def another_future(table: pa.Table, later: np.ndarray[Any, np.dtype[np.bool_]], *, cut_off: bool) -> pa.Table:
    """Return a table whose later rows are gone, or have values that no past explains."""
    import pyarrow as pa

    if cut_off:
        return table.filter(pa.array(~later))
    factor = np.where(later, np.random.default_rng(7).uniform(0.5, 2.0, len(later)), 1.0)
    for k, name in enumerate(table.column_names):
        column = table[name]
        if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and name.lower() not in _TIMES):
            values = np.asarray(column.to_numpy(), np.float64) * factor
            table = table.set_column(k, name, pa.array(values))
    return table
