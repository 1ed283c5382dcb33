"""What a run stored, read: outputs, accounts, the journal, and the order in which everything arrived."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.errors import DataFormatError, SourceNotFoundError
from qmtl.live.paper import FILL, Order, Traded
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

#: Version of the tables, kept in the file's header.
FORMAT = 2
SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL, fields TEXT NOT NULL, width INTEGER NOT NULL,
    UNIQUE (node, fields, width));
-- buckets are NULL where they are n of equal distances from first to last
CREATE TABLE IF NOT EXISTS chunks (
    seq INTEGER PRIMARY KEY, series INTEGER NOT NULL, revision INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, n INTEGER NOT NULL, buckets BLOB, "values" BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_of ON chunks (series, seq);
CREATE TABLE IF NOT EXISTS late (
    seq INTEGER PRIMARY KEY, series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    n INTEGER NOT NULL, buckets BLOB, "values" BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (
    seq INTEGER PRIMARY KEY, strategy INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    n INTEGER NOT NULL, buckets BLOB, "values" BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS takes (seq INTEGER PRIMARY KEY, strategy INTEGER NOT NULL, through INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS fills (seq INTEGER PRIMARY KEY, strategy INTEGER NOT NULL, records BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    seq INTEGER PRIMARY KEY, strategy INTEGER NOT NULL, client_order_id TEXT NOT NULL, bucket INTEGER NOT NULL,
    ts INTEGER NOT NULL, symbol INTEGER NOT NULL, quantity REAL NOT NULL, status TEXT NOT NULL,
    UNIQUE (strategy, client_order_id));
CREATE TABLE IF NOT EXISTS arrivals (
    seq INTEGER PRIMARY KEY, node INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    n INTEGER NOT NULL, revision INTEGER NOT NULL, through INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS turns (
    seq INTEGER PRIMARY KEY, node INTEGER NOT NULL, last INTEGER NOT NULL, upstreams TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a step took of one stream.

    Attributes
    ----------
    node : str
        The stream; empty for a step that took nothing of any stream.
    first, last, n : int
        Buckets, and how many.
    revision : int
        0 for what was sealed first, more for a repair of it.
    through : int
        Everything that ends at or before it had been delivered after the step, seconds UTC.
    """

    node: str
    first: int
    last: int
    n: int
    revision: int
    through: int


@dataclass(frozen=True, slots=True)
class Turn:
    """From when on a node whose upstreams change was computed from which; or not at all, where there are none.

    Attributes
    ----------
    node : str
    last : int
        The next record is of a later bucket than this one.
    upstreams : str
        What :attr:`qmtl.live.job.Job.upstreams` said.
    """

    node: str
    last: int
    upstreams: str


class RunRecord:
    """The file of a run, for reading; a run may go on writing it meanwhile.

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    DataFormatError
        It is damaged, or of another version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with self._read():
            self._db = self._opened()
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise DataFormatError(
                f"{str(path)!r} is a run of version {version}", hint=f"this program reads version {FORMAT}"
            )

    def _opened(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise SourceNotFoundError(
                f"no run is stored in {str(self.path)!r}", hint="give the folder that a dry-run wrote"
            )
        place = f"{self.path.resolve().as_uri()}?mode=ro"
        return sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise DataFormatError(f"the run in {str(self.path)!r} is damaged: {error}") from error

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._db.close()

    # ---------------------------------------------------------------------------- records

    @property
    def nodes(self) -> list[str]:
        """Ids of the nodes that have records."""
        sql = "SELECT DISTINCT n.name FROM series s JOIN names n ON n.id = s.node ORDER BY n.name"
        with self._read():
            return [name for (name,) in self._db.execute(sql)]

    def parts(self, node_id: str, *, revised: bool = False) -> Iterator[tuple[int, Rows]]:
        """Yield revision and records of a node as they were committed: what came first, or the repairs."""
        sql = """SELECT first, last, n, buckets, "values", revision FROM chunks
            WHERE series = ? AND (revision > 0) = ? ORDER BY seq"""
        for series, fields, width in self._series_of_node(node_id):
            with self._read():
                for *place, values, revision in self._db.execute(sql, (series, revised)):
                    yield revision, _rows(unpacked(*place), fields, width, values)

    def _series_of_node(self, node_id: str) -> list[tuple[int, tuple[str, ...], int]]:
        sql = (
            "SELECT s.id, s.fields, s.width FROM series s JOIN names n ON n.id = s.node WHERE n.name = ? ORDER BY s.id"
        )
        with self._read():
            found = self._db.execute(sql, (node_id,)).fetchall()
            return [(series, tuple(json.loads(fields)), width) for series, fields, width in found]

    def outputs(self, node_id: str) -> Rows:
        """Return the records of a node as they were first emitted."""
        found = [rows for _, rows in self.parts(node_id)]
        return Rows.joined(found) if found else Rows.none()

    def latest(self, node_id: str) -> Rows:
        """Return the records of a node with all repairs."""
        rows = self.outputs(node_id)
        for _, repair in sorted(self.parts(node_id, revised=True), key=itemgetter(0)):
            rows = rows.repaired(repair)
        return rows

    def late(self, node_id: str) -> list[Rows]:
        """Return the bars of a stream that came after their bucket was sealed, in the order in which they came."""
        sql = """SELECT first, last, n, buckets, "values" FROM late WHERE series = ? ORDER BY seq"""
        found = []
        for series, fields, width in self._series_of_node(node_id):
            with self._read():
                rows = self._db.execute(sql, (series,))
                found += [_rows(unpacked(*place), fields, width, values) for *place, values in rows]
        return found

    # --------------------------------------------------------------------------- accounts

    def traded(self, strategy_id: str, symbols: int) -> Traded:
        """Return everything that the account of a strategy with so many symbols did."""
        sql = """SELECT a.first, a.last, a.n, a.buckets, a."values" FROM accounts a
            JOIN names n ON n.id = a.strategy WHERE n.name = ? ORDER BY a.seq"""
        with self._read():
            found = [
                (unpacked(*place), np.frombuffer(values, "<f8").reshape(2 + symbols, -1))
                for *place, values in self._db.execute(sql, (strategy_id,))
            ]
        ts = np.concatenate([np.zeros(0, np.int64), *(ts for ts, _ in found)])
        values = np.concatenate([np.zeros((2 + symbols, 0)), *(values for _, values in found)], axis=1)
        position = np.ascontiguousarray(values[2:].T)
        through = max(self.takes(strategy_id), default=NONE)
        return Traded(through, ts, values[0], values[1], position, self.fills(strategy_id), self.orders(strategy_id))

    def takes(self, strategy_id: str) -> list[int]:
        """Return how much was known whenever the account of a strategy moved, seconds UTC."""
        sql = "SELECT t.through FROM takes t JOIN names n ON n.id = t.strategy WHERE n.name = ? ORDER BY t.seq"
        with self._read():
            return [through for (through,) in self._db.execute(sql, (strategy_id,))]

    def fills(self, strategy_id: str) -> NDArray[Any]:
        """Return the fills of a strategy in their order."""
        sql = "SELECT f.records FROM fills f JOIN names n ON n.id = f.strategy WHERE n.name = ? ORDER BY f.seq"
        with self._read():
            found = [np.frombuffer(records, FILL) for (records,) in self._db.execute(sql, (strategy_id,))]
        return np.concatenate([np.zeros(0, FILL), *found])

    def orders(self, strategy_id: str) -> tuple[Order, ...]:
        """Return the journal of a strategy in the order in which orders were first decided."""
        sql = """SELECT o.client_order_id, o.bucket, o.ts, o.symbol, o.quantity, o.status
            FROM orders o JOIN names n ON n.id = o.strategy WHERE n.name = ? ORDER BY o.seq"""
        with self._read():
            return tuple(Order(*row) for row in self._db.execute(sql, (strategy_id,)))

    # --------------------------------------------------------------------------- the rest

    def arrivals(self) -> Iterator[Arrival]:
        """Yield what arrived, in order."""
        sql = """SELECT n.name, a.first, a.last, a.n, a.revision, a.through
            FROM arrivals a JOIN names n ON n.id = a.node ORDER BY a.seq"""
        with self._read():
            for row in self._db.execute(sql):
                yield Arrival(*row)

    def turns(self) -> list[Turn]:
        """Return when nodes were given other upstreams, or were taken over, in order."""
        sql = "SELECT n.name, t.last, t.upstreams FROM turns t JOIN names n ON n.id = t.node ORDER BY t.seq"
        with self._read():
            return [Turn(*row) for row in self._db.execute(sql)]

    def load(self) -> bytes | None:
        """Return the last checkpoint, or None before the first."""
        with self._read():
            found = self._db.execute("SELECT state FROM checkpoint").fetchone()
        return None if found is None else bytes(found[0])


def packed(ts: Ints) -> tuple[int, int, int, bytes | None]:
    """Return first, last, number and, unless all distances are equal, the buckets themselves."""
    first, last, n = int(ts[0]), int(ts[-1]), len(ts)
    is_even = np.array_equal(ts, unpacked(first, last, n, None))
    return first, last, n, None if is_even else ts.astype("<i8", copy=False).tobytes()


def unpacked(first: int, last: int, n: int, buckets: bytes | None) -> Ints:
    """Return the buckets that :func:`packed` described."""
    if buckets is not None:
        return np.frombuffer(buckets, "<i8")
    return first + (last - first) // max(n - 1, 1) * np.arange(n)


def _rows(ts: Ints, fields: tuple[str, ...], width: int, values: bytes) -> Rows:
    return Rows(ts, fields, np.frombuffer(values, "<f8").reshape(len(fields), len(ts), width))
