"""Topics of the embedded log, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from qmtl.backends.embedded.sqlite import IN, SqlitePart, listed
from qmtl.backends.topic_names import folded, refusal
from qmtl.ports.broker import Broker, TopicInfo, TopicSpec

SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    name TEXT PRIMARY KEY, folded TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, retention_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, last_bucket INTEGER, count INTEGER NOT NULL,
    at REAL NOT NULL, batch BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_topic ON records (topic, position);
CREATE INDEX IF NOT EXISTS records_by_bucket ON records (topic, last_bucket);
CREATE TABLE IF NOT EXISTS epochs (topic TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
"""


class SqliteBroker(SqlitePart, Broker):
    """Topics in one file, with one replica each; their records are those of :class:`SqliteLog`."""

    schema = SCHEMA

    async def create(self, topics: Sequence[TopicSpec]) -> dict[str, str]:
        def insert(db: sqlite3.Connection) -> dict[str, str]:
            refused = {}
            for topic in topics:
                why = refusal(topic.name) or _clash(db, topic.name)
                if why:
                    refused[topic.name] = why
                    continue
                row = (topic.name, folded(topic.name), topic.partitions, topic.retention_ms)
                db.execute("INSERT OR IGNORE INTO topics VALUES (?, ?, ?, ?)", row)
            return refused

        return await self._db.write(insert)

    async def keep(self, retention_ms: Mapping[str, int]) -> None:
        sql = "UPDATE topics SET retention_ms = max(retention_ms, ?) WHERE name = ?"
        rows = [(kept, name) for name, kept in retention_ms.items()]
        await self._db.write(lambda db: db.executemany(sql, rows))

    async def exist(self, names: Sequence[str]) -> set[str]:
        return set(await self.describe(names))

    async def describe(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        sql = f"""SELECT name, partitions, retention_ms,
            (SELECT coalesce(sum(count), 0) FROM records WHERE topic = name) FROM topics WHERE name {IN}"""
        rows = await self._db.read(lambda db: db.execute(sql, [listed(names)]).fetchall())
        return {row[0]: TopicInfo(row[0], row[1], 1, row[2], records=row[3]) for row in rows}

    async def delete(self, names: Sequence[str]) -> None:
        def remove(db: sqlite3.Connection) -> None:
            for table, column in (("topics", "name"), ("records", "topic"), ("epochs", "topic")):
                db.execute(f"DELETE FROM {table} WHERE {column} {IN}", [listed(names)])

        await self._db.write(remove)

    async def topics(self) -> list[str]:
        return await self._db.read(lambda db: [row[0] for row in db.execute("SELECT name FROM topics ORDER BY name")])

    async def load(self) -> float:
        return 0.0


def _clash(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT name FROM topics WHERE folded = ?", [folded(name)]).fetchone()
    return f"it clashes with topic {row[0]}" if row is not None and row[0] != name else None
