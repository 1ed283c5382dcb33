"""Locks in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qmtl.backends.embedded.sqlite import SqlitePart
from qmtl.ports.locks import Locks

SCHEMA = """
CREATE TABLE IF NOT EXISTS locks (
    name TEXT PRIMARY KEY, token INTEGER NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
"""

#: Tokens are microseconds of the clock, so they grow even if the file was deleted in between.
_MICROSECONDS = 1_000_000
#: Locks that ended so long ago are forgotten: the clock alone gives greater tokens by now, in seconds.
_DAY_S = 86_400.0


class SqliteLocks(SqlitePart, Locks):
    """Locks in one file; ``now`` gives seconds."""

    schema = SCHEMA

    def __init__(self, path: Path | str, now: Callable[[], float]) -> None:
        super().__init__(path)
        self._now = now

    async def acquire(self, names: Sequence[str], ttl_s: float) -> dict[str, int]:
        now = self._now()
        sql = """INSERT INTO locks VALUES (?, ?, ?) ON CONFLICT DO UPDATE
            SET token = max(token + 1, excluded.token), until = excluded.until WHERE until <= ? RETURNING token"""

        def take(db: sqlite3.Connection) -> dict[str, int]:
            db.execute(
                "DELETE FROM locks WHERE until < ? AND token < ?", [now - _DAY_S, int((now - _DAY_S) * _MICROSECONDS)]
            )
            rows = {
                name: db.execute(sql, (name, int(now * _MICROSECONDS), now + ttl_s, now)).fetchone() for name in names
            }
            return {name: int(row[0]) for name, row in rows.items() if row is not None}

        return await self._db.write(take)

    async def release(self, held: Mapping[str, int]) -> None:
        sql = "UPDATE locks SET until = 0 WHERE name = ? AND token = ?"
        await self._db.write(lambda db: db.executemany(sql, [*held.items()]))
