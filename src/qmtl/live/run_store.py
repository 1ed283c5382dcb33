"""What a run keeps: outputs, accounts, journal, arrivals and checkpoints, in one file and one transaction each time.

Whenever the process is killed, the file is exactly at a commit: what the checkpoint says is what the tables hold.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qmtl.errors import RunError, WriteError
from qmtl.live.paper import Traded
from qmtl.live.rows import Rows
from qmtl.live.run_record import SCHEMA, Arrival, RunRecord, Turn, packed

#: A reader that holds the file for a moment is waited for so long, in seconds.
_BUSY_S = 5.0
_ORDER = """INSERT INTO orders (strategy, client_order_id, bucket, ts, symbol, quantity, status)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (strategy, client_order_id) DO UPDATE SET status = excluded.status"""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is stored together.

    Attributes
    ----------
    records : mapping of node id to Rows
        Records that follow those before.
    revised : sequence of (node id, revision, Rows)
        Repairs of earlier records.
    traded : mapping of strategy id to sequence of Traded
        What accounts did.
    arrivals : sequence of Arrival
        What arrived, in order; see :func:`arrivals`.
    late : sequence of (stream id, Rows)
        Bars of sealed buckets, kept for audit.
    checkpoint : bytes, optional
        From where the run goes on after all this; the last one stays otherwise.
    """

    records: Mapping[str, Rows]
    revised: Sequence[tuple[str, int, Rows]] = ()
    traded: Mapping[str, Sequence[Traded]] | None = None
    arrivals: Sequence[Arrival] = ()
    late: Sequence[tuple[str, Rows]] = ()
    checkpoint: bytes | None = None


class RunStore(RunRecord):
    """The file of a run, for its one writer; it is made if it is not there.

    Parameters
    ----------
    path : Path or str
        The file; ``.lock`` beside it is held for as long as the store is open, also if the process is killed.

    Raises
    ------
    RunError
        Another process runs in this folder.
    WriteError
        The file cannot be made.
    DataFormatError
        It is damaged, or of another version.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> store = RunStore(Path(tempfile.mkdtemp()) / "state.db")
    >>> rows = Rows.made(np.array([0, 60]), {"value": np.array([[1.0], [2.0]])})
    >>> store.commit(Commit({"n": rows}, checkpoint=b"at 120"))
    >>> store.outputs("n").ts.tolist(), store.load()
    ([0, 60], b'at 120')
    >>> store.close()
    """

    def __init__(self, path: Path | str) -> None:
        self._lock: int | None = None
        self._names: dict[str, int] = {}
        self._series: dict[tuple[str, tuple[str, ...], int], int] = {}
        try:
            super().__init__(path)
        except BaseException:  # whatever it is: nobody else would let go of the lock
            self._unlock()
            raise

    def _opened(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            db.execute("PRAGMA synchronous = FULL")
        except (OSError, sqlite3.OperationalError) as error:
            raise WriteError(f"cannot write {str(self.path)!r}: {_reason(error)}", hint=_HINT) from error
        return db

    def _locked(self) -> int:
        """Return a lock that the kernel takes back when this process ends, however it ends."""
        held = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise RunError(
                f"another process runs in {str(self.path.parent)!r}",
                hint="stop it, or give this run a folder of its own: --out DIR",
            ) from None
        return held

    def _unlock(self) -> None:
        held, self._lock = self._lock, None
        if held is not None:
            os.close(held)

    def close(self) -> None:
        """Close the file and let go of the lock; safe to call twice."""
        with suppress(sqlite3.Error):  # a reader holds it, or the disk is full: then it stays as it is, and whole
            self._db.execute("PRAGMA journal_mode = DELETE")  # one file that can be read where nothing can be written
        super().close()
        self._unlock()

    # ---------------------------------------------------------------------------- writing

    def commit(self, made: Commit) -> None:
        """Store everything or nothing, durable when it returns.

        Raises
        ------
        WriteError
            The disk is full, or fails: nothing of this commit is there, and it may be tried again.
        """
        with self._transaction():
            self._write(made)

    def turned(self, turns: Iterable[Turn]) -> None:
        """Store from which upstreams nodes are computed from now on; durable when it returns, as :meth:`commit`."""
        with self._transaction():
            rows = [(self._name(turn.node), turn.last, turn.upstreams) for turn in turns]
            self._db.executemany("INSERT INTO turns (node, last, upstreams) VALUES (?, ?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._take_back()
            raise WriteError(f"cannot write {str(self.path)!r}: {_reason(error)}", hint=_HINT) from error
        except BaseException:  # also when it is interrupted: nothing half-done stays
            self._take_back()
            raise

    def _take_back(self) -> None:
        self._names.clear()
        self._series.clear()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _write(self, made: Commit) -> None:
        first = [(node, 0, rows) for node, rows in made.records.items()]
        self._db.executemany(
            'INSERT INTO chunks (revision, series, first, last, n, buckets, "values") VALUES (?, ?, ?, ?, ?, ?, ?)',
            [(revision, *self._row(node, rows)) for node, revision, rows in [*first, *made.revised] if len(rows)],
        )
        self._db.executemany(
            'INSERT INTO late (series, first, last, n, buckets, "values") VALUES (?, ?, ?, ?, ?, ?)',
            [self._row(node, rows) for node, rows in made.late if len(rows)],
        )
        for strategy_id, pieces in (made.traded or {}).items():
            self._insert_account(self._name(strategy_id), pieces)
        self._db.executemany(
            "INSERT INTO arrivals (node, first, last, n, revision, through) VALUES (?, ?, ?, ?, ?, ?)",
            [(self._name(a.node), a.first, a.last, a.n, a.revision, a.through) for a in made.arrivals],
        )
        if made.checkpoint is not None:
            sql = "INSERT INTO checkpoint VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state"
            self._db.execute(sql, [made.checkpoint])

    def _row(self, node: str, rows: Rows) -> tuple[object, ...]:
        series = self._series_of(node, rows.fields, rows.values.shape[2])
        return (series, *packed(rows.ts), np.ascontiguousarray(rows.values, "<f8").data)

    def _insert_account(self, strategy: int, pieces: Sequence[Traded]) -> None:
        accounts, orders = [], []
        for piece in pieces:
            if len(piece.ts):
                values = np.concatenate([piece.equity[None], piece.cash[None], piece.position.T])
                accounts.append((strategy, *packed(piece.ts), values.astype("<f8", copy=False).tobytes()))
            orders += [
                (strategy, o.client_order_id, o.bucket, o.ts, o.symbol, o.quantity, o.status) for o in piece.orders
            ]
        sql = 'INSERT INTO accounts (strategy, first, last, n, buckets, "values") VALUES (?, ?, ?, ?, ?, ?)'
        self._db.executemany(sql, accounts)
        self._db.executemany(_ORDER, orders)
        takes = [(strategy, piece.through) for piece in pieces]
        self._db.executemany("INSERT INTO takes (strategy, through) VALUES (?, ?)", takes)
        fills = [(strategy, piece.fills.tobytes()) for piece in pieces if len(piece.fills)]
        self._db.executemany("INSERT INTO fills (strategy, records) VALUES (?, ?)", fills)

    # -------------------------------------------------------------------------- interning

    def _name(self, name: str) -> int:
        if name not in self._names:
            self._db.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", [name])
            self._names[name] = self._db.execute("SELECT id FROM names WHERE name = ?", [name]).fetchone()[0]
        return self._names[name]

    def _series_of(self, node: str, fields: tuple[str, ...], width: int) -> int:
        key = (node, fields, width)
        if key not in self._series:
            row = (self._name(node), json.dumps(fields), width)
            self._db.execute("INSERT OR IGNORE INTO series (node, fields, width) VALUES (?, ?, ?)", row)
            sql = "SELECT id FROM series WHERE node = ? AND fields = ? AND width = ?"
            self._series[key] = self._db.execute(sql, row).fetchone()[0]
        return self._series[key]


def arrivals(
    delivered: Mapping[str, Rows], revised: Iterable[tuple[str, int, Rows]], through: int, streams: frozenset[str]
) -> list[Arrival]:
    """Return what a step took of streams, in the order of the step: repairs first, then what is new."""
    given = [(node, revision, rows) for node, revision, rows in revised if node in streams]
    given += [(node, 0, rows) for node, rows in delivered.items() if node in streams and len(rows)]
    if not given:
        return [Arrival("", 0, 0, 0, 0, through)]
    return [Arrival(node, r.first, r.last, len(r), revision, through) for node, revision, r in given]


_HINT = "nothing half-written is left; make room, or check rights, and go on from the last commit"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
