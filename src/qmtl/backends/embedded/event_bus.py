"""Control events in SQLite; readers of the same process are woken at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from qmtl.backends.embedded.sqlite import SqlitePart
from qmtl.ports.event_bus import EventBus
from qmtl.wire.events import Event, parse

SCHEMA = """
CREATE TABLE IF NOT EXISTS bus (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, content BLOB NOT NULL
);
"""


class SqliteBus(SqlitePart, EventBus):
    """The last ``keep`` events in one file."""

    schema = SCHEMA

    def __init__(self, path: Path | str, keep: int = 100_000) -> None:
        super().__init__(path)
        self._keep = keep
        self._arrived = asyncio.Condition()

    async def publish(self, events: Sequence[Event]) -> None:
        rows = [(event.id, msgspec.json.encode(event)) for event in events]

        def append(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO bus (id, content) VALUES (?, ?)", rows)
            db.execute("DELETE FROM bus WHERE position <= (SELECT max(position) FROM bus) - ?", [self._keep])

        await self._db.write(append)
        async with self._arrived:
            self._arrived.notify_all()

    async def read(self, after: str, limit: int, wait_s: float) -> list[tuple[str, Event]]:
        found = await self._read(after, limit)
        if not found and wait_s > 0:
            async with self._arrived:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._arrived.wait()
                except TimeoutError:
                    return []
            found = await self._read(after, limit)
        return found

    async def _read(self, after: str, limit: int) -> list[tuple[str, Event]]:
        sql = "SELECT position, content FROM bus WHERE position > ? ORDER BY position LIMIT ?"
        rows = await self._db.read(lambda db: db.execute(sql, (int(after), limit)).fetchall())
        return [(str(row[0]), parse(row[1])) for row in rows]

    async def last(self) -> str:
        sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'bus'), 0)"
        return await self._db.read(lambda db: str(db.execute(sql).fetchone()[0]))

    async def position_of(self, event_id: str) -> str | None:
        sql = "SELECT position FROM bus WHERE id = ?"
        row = await self._db.read(lambda db: db.execute(sql, [event_id]).fetchone())
        return None if row is None else str(row[0])
