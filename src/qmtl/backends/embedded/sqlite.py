"""A SQLite database behind an asynchronous face: one connection, one thread, one transaction a call."""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from qmtl.backends.embedded.stopped import help_writer
from qmtl.errors import UnavailableError
from qmtl.ports.dependency import Dependency

T = TypeVar("T")

#: Follows a column: whether it is one of :func:`listed` values.
IN = "IN (SELECT value FROM json_each(?))"

#: A call that takes longer has failed, in seconds.
DEADLINE_S = 30.0
#: So much of a file a connection keeps in memory.
CACHE_KIB = 65_536
#: A file that others write is waited for; meanwhile somebody looks whether who writes has been stopped, in seconds.
_BUSY_S, _LOOK_S = 5.0, 0.2


class Database:
    """One file, of which a connection keeps ``cache_kib`` in memory.

    The schema is idempotent SQL that runs when the file is opened.

    Raises
    ------
    UnavailableError
        The file cannot be opened, is locked by another process for long, or the disk is full.
    """

    def __init__(self, path: Path | str, schema: str, role: str, cache_kib: int = CACHE_KIB) -> None:
        self._path, self._role, self._cache_kib = str(path), role, cache_kib
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{role}")
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = self._thread.submit(self._open, schema).result()
        except (sqlite3.Error, OSError) as error:
            raise self._told(error) from error

    def _open(self, schema: str) -> sqlite3.Connection:
        if self._path != ":memory:":
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{self._cache_kib}")
        connection.executescript(schema)
        connection.execute(f"PRAGMA busy_timeout = {_LOOK_S * 1000:.0f}")
        return connection

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run statements that change nothing, on one snapshot."""
        return await self._run(work, "BEGIN")

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run statements in one transaction, durable when this returns; an exception takes all of them back."""
        return await self._run(work, "BEGIN IMMEDIATE")

    async def outside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a statement outside of any transaction, such as a pragma that looks at the file itself."""
        return await self._run(work, "")

    async def _run(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, functools.partial(self._transact, work, begin))
        running.add_done_callback(lambda done: done.cancelled() or done.exception())  # also if nobody waits any more
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.shield(running)
        except (sqlite3.Error, TimeoutError) as error:
            raise self._told(error) from error

    def _transact(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        if self._connection is None:
            raise sqlite3.ProgrammingError("it is closed")
        if not begin:
            return work(self._connection)
        self._begin(self._connection, begin)
        try:
            result = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:  # also when it is cancelled: nothing half-done stays
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            raise
        return result

    def _begin(self, connection: sqlite3.Connection, begin: str) -> None:
        ends = time.monotonic() + _BUSY_S
        while True:
            try:
                connection.execute(begin)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                    raise
                help_writer(Path(self._path))
            else:
                return

    def _told(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"{self._role}: {self._path}: {str(error) or type(error).__name__}",
            dependency=self._role,
            hint="check the file's folder: rights, space, other processes",
        )

    async def version(self) -> str:
        """Return the version of SQLite, after reading something."""
        row: tuple[Any, ...] = await self.read(lambda db: tuple(db.execute("SELECT sqlite_version()").fetchone()))
        return str(row[0])

    async def close(self) -> None:
        """Close the file; safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, connection.close)
            self._thread.shutdown(wait=False)


class SqlitePart(Dependency):
    """A backend in one file; a subclass gives its ``schema`` and the port whose role it plays."""

    kind = "sqlite"
    schema: ClassVar[str]
    cache_kib: ClassVar[int] = CACHE_KIB

    def __init__(self, path: Path | str) -> None:
        self._db = Database(path, self.schema, self.role, self.cache_kib)

    async def check(self) -> str:
        return await self._db.version()

    async def close(self) -> None:
        await self._db.close()


def listed(values: Iterable[str]) -> str:
    """Return texts as the one value that ``IN`` takes."""
    return json.dumps([*values])
