"""Work queue in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from qmtl.backends.embedded.sqlite import IN, SqlitePart, listed
from qmtl.ports.work_queue import WorkQueue

SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, leased_until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_place ON items (seq);
CREATE TABLE IF NOT EXISTS settled (yes INTEGER PRIMARY KEY);
"""


class SqliteQueue(SqlitePart, WorkQueue):
    """Items in one file; ``now`` gives seconds."""

    schema = SCHEMA

    def __init__(self, path: Path | str, now: Callable[[], float]) -> None:
        super().__init__(path)
        self._now = now

    async def push(self, items: Sequence[tuple[int, str]]) -> int:
        sql = "INSERT OR IGNORE INTO items (seq, id) VALUES (?, ?)"
        return await self._db.write(lambda db: db.executemany(sql, items).rowcount)

    async def claim(self, count: int, lease_s: float) -> list[str]:
        now = self._now()

        def take(db: sqlite3.Connection) -> list[str]:
            found = db.execute("SELECT id FROM items WHERE leased_until <= ? ORDER BY seq LIMIT ?", (now, count))
            ids = [row[0] for row in found]
            db.executemany("UPDATE items SET leased_until = ? WHERE id = ?", [(now + lease_s, one) for one in ids])
            return ids

        return await self._db.write(take)

    async def done(self, ids: Sequence[str]) -> None:
        sql = f"DELETE FROM items WHERE id {IN}"
        await self._db.write(lambda db: db.execute(sql, [listed(ids)]))

    async def depth(self) -> int:
        return await self._db.read(lambda db: int(db.execute("SELECT count(*) FROM items").fetchone()[0]))

    async def is_fresh(self) -> bool:
        return await self._db.read(lambda db: db.execute("SELECT yes FROM settled").fetchone() is None)

    async def settle(self) -> None:
        await self._db.write(lambda db: db.execute("INSERT OR IGNORE INTO settled VALUES (1)"))
