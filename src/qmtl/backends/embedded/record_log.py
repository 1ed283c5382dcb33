"""Records of topics in SQLite, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qmtl.backends.embedded.broker import SCHEMA
from qmtl.backends.embedded.sqlite import IN, SqlitePart, listed
from qmtl.errors import UnavailableError
from qmtl.ports.record_log import Entry, RecordLog
from qmtl.wire.records import Batch, decode, encode

#: A reader that waits looks so often whether another process has written, in seconds.
_POLL_S = 0.004
#: Records beyond their topic's retention are removed once in so many appends.
_SWEEP_EVERY = 1000
_NEW = """SELECT r.position, r.topic, r.batch FROM json_each(?) w
    JOIN records r ON r.topic = w.key AND r.position > w.value ORDER BY r.position LIMIT ?"""
_EXPIRED = (
    """DELETE FROM records WHERE at < ? - (SELECT retention_ms / 1000.0 FROM topics WHERE name = records.topic)"""
)


class SqliteLog(SqlitePart, RecordLog):
    """Records in the file that has the topics; ``now`` gives seconds UTC.

    An older epoch is refused in the transaction that would have appended it.
    """

    schema = SCHEMA

    def __init__(self, path: Path | str, now: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._now = now
        self._appends = 0

    async def append(self, batches: Sequence[tuple[str, Batch]]) -> set[str]:
        encoded = [encode(batch) for _, batch in batches]
        sweeping = self._appends % _SWEEP_EVERY == _SWEEP_EVERY - 1

        def write(db: sqlite3.Connection) -> set[str]:
            now, topics = self._now(), {topic for topic, _ in batches}
            _check_there(db, topics)
            epochs = dict(db.execute(f"SELECT topic, epoch FROM epochs WHERE topic {IN}", [listed(topics)]).fetchall())
            kept, refused = _admitted(batches, encoded, epochs, now)
            db.executemany("INSERT INTO records (topic, last_bucket, count, at, batch) VALUES (?, ?, ?, ?, ?)", kept)
            sql = "INSERT INTO epochs VALUES (?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch"
            db.executemany(sql, epochs.items())
            if sweeping:
                db.execute(_EXPIRED, [now])
            return refused

        refused = await self._db.write(write)
        self._appends += 1
        return refused

    async def read(self, positions: Mapping[str, int], limit: int, wait_s: float) -> dict[str, list[Entry]]:
        wanted, ends = json.dumps(dict(positions)), asyncio.get_running_loop().time() + wait_s
        seen = None
        while True:
            version = await self._db.outside(self._version)
            if version != seen:
                seen = version
                rows = await self._db.read(lambda db: db.execute(_NEW, (wanted, limit)).fetchall())
                if rows:
                    return _entries(rows)
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                return {}
            await asyncio.sleep(min(_POLL_S, left))

    def _version(self, db: sqlite3.Connection) -> tuple[int, int]:
        """Return what changes whenever anybody writes to the file: others, or this process."""
        return int(db.execute("PRAGMA data_version").fetchone()[0]), self._appends

    async def seek(self, buckets: Mapping[str, int]) -> dict[str, int]:
        sql = """SELECT w.key, coalesce(
                (SELECT min(position) - 1 FROM records WHERE topic = w.key AND last_bucket >= w.value),
                (SELECT max(position) FROM records WHERE topic = w.key), 0) FROM json_each(?) w"""
        wanted = json.dumps(dict(buckets))
        return await self._db.read(lambda db: dict(tuple(row) for row in db.execute(sql, [wanted])))

    async def ends(self, topics: Sequence[str]) -> dict[str, int]:
        sql = f"SELECT topic, max(position) FROM records WHERE topic {IN} GROUP BY topic"
        found = await self._db.read(lambda db: dict(tuple(row) for row in db.execute(sql, [listed(topics)])))
        return {topic: found.get(topic, 0) for topic in topics}


def _check_there(db: sqlite3.Connection, topics: set[str]) -> None:
    there = {row[0] for row in db.execute(f"SELECT name FROM topics WHERE name {IN}", [listed(topics)])}
    if missing := topics - there:
        raise UnavailableError(f"there is no topic {min(missing)}", dependency="log", hint="was it collected?")


def _admitted(
    batches: Sequence[tuple[str, Batch]], encoded: Sequence[bytes], epochs: dict[str, int], now: float
) -> tuple[list[tuple[str, int | None, int, float, bytes]], set[str]]:
    """Return the rows to insert and the topics that a newer epoch has; brings ``epochs`` up to date."""
    rows, refused = [], set()
    for (topic, batch), raw in zip(batches, encoded, strict=True):
        if batch.epoch < epochs.get(topic, 0):
            refused.add(topic)
            continue
        epochs[topic] = batch.epoch
        span = batch.span
        rows.append((topic, span[1] if span else None, len(batch), now, raw))
    return rows, refused


def _entries(rows: Sequence[sqlite3.Row]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for position, topic, raw in rows:
        found.setdefault(topic, []).append(Entry(position, decode(raw)))
    return found
