"""Records of topics in SQLite, shared by the processes of one machine."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qmtl.backends.embedded.broker import SCHEMA
from qmtl.backends.embedded.sqlite import IN, Database, SqlitePart, listed
from qmtl.errors import UnavailableError
from qmtl.ports.record_log import Entry, RecordLog
from qmtl.wire.records import Batch, decode, encode

#: A reader that waits looks so often whether somebody has written, and less often in a quiet time, in seconds.
_POLL_S, _QUIET_POLL_S, _QUIET_S = 0.004, 0.012, 1.0
#: So long it stays in its thread at most, in seconds.
_STAY_S = 5.0
#: Records beyond their topic's retention are removed once in so many appends.
_SWEEP_EVERY = 1000
#: Of each topic no more than the limit are looked at, however far behind a reader is; the oldest of all come first.
_NEW = """SELECT position, topic, batch FROM records WHERE position IN (
    SELECT r.position FROM json_each(:wanted) w JOIN records r ON r.position IN (
        SELECT position FROM records WHERE topic = w.key AND position > w.value ORDER BY position LIMIT :limit)
    ORDER BY r.position LIMIT :limit) ORDER BY position"""
#: Records expire from the front of a topic: only as many are looked at as the limit says.
_EXPIRED = """DELETE FROM records WHERE position IN (
    SELECT position FROM (SELECT position, at FROM records WHERE topic = :topic ORDER BY position LIMIT :limit)
    WHERE at < :now - (SELECT retention_ms / 1000.0 FROM topics WHERE name = :topic))"""
#: By buckets, for what is sought is near the end as a rule: in the order of positions everything before is passed.
_SOUGHT = """SELECT w.key, coalesce(
    (SELECT min(position) - 1 FROM records INDEXED BY records_by_bucket WHERE topic = w.key AND last_bucket >= w.value),
    (SELECT max(position) FROM records WHERE topic = w.key), 0) FROM json_each(?) w"""


class SqliteLog(SqlitePart, RecordLog):
    """Records in the file that has the topics; ``now`` gives seconds UTC.

    An older epoch is refused in the transaction that would have appended it. Readers have a connection and a thread
    of their own, so that nobody's append waits for a read that waits.
    """

    schema = SCHEMA
    refuses = True
    #: Only the ends of topics are hot: a writer and a reader need no more, however long a run goes on.
    cache_kib = 4096

    def __init__(self, path: Path | str, now: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._reading = Database(path, "", self.role, self.cache_kib)
        self._ended = threading.Event()
        self._found_at = time.monotonic()
        self._now = now
        self._appends = 0
        self._added: Counter[str] = Counter()

    async def append(self, batches: Sequence[tuple[str, Batch]]) -> set[str]:
        encoded = [encode(batch) for _, batch in batches]
        self._appends += 1
        self._added.update(topic for topic, _ in batches)
        sweeping = {} if self._appends % _SWEEP_EVERY else dict(self._added)

        def write(db: sqlite3.Connection) -> set[str]:
            now, topics = self._now(), {topic for topic, _ in batches}
            _check_there(db, topics)
            epochs = dict(db.execute(f"SELECT topic, epoch FROM epochs WHERE topic {IN}", [listed(topics)]).fetchall())
            kept, refused = _admitted(batches, encoded, epochs, now)
            db.executemany("INSERT INTO records (topic, last_bucket, count, at, batch) VALUES (?, ?, ?, ?, ?)", kept)
            sql = "INSERT INTO epochs VALUES (?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch"
            db.executemany(sql, epochs.items())
            swept = [{"topic": topic, "limit": 2 * count, "now": now} for topic, count in sweeping.items()]
            db.executemany(_EXPIRED, swept)
            return refused

        refused = await self._db.write(write)
        self._added -= Counter(sweeping)
        return refused

    async def read(self, positions: Mapping[str, int], limit: int, wait_s: float) -> dict[str, list[Entry]]:
        wanted = {"wanted": json.dumps(dict(positions)), "limit": limit}
        ends = time.monotonic() + wait_s
        while True:
            stop, until = threading.Event(), min(ends, time.monotonic() + _STAY_S)
            try:
                rows = await self._reading.outside(lambda db: self._arrived(db, wanted, until, stop))  # noqa: B023
            finally:
                stop.set()  # if nobody waits any more, neither does the thread
            if rows or until == ends or self._ended.is_set():
                return _entries(rows)

    def _arrived(
        self, db: sqlite3.Connection, wanted: Mapping[str, object], until: float, stop: threading.Event
    ) -> Sequence[sqlite3.Row]:
        """Return entries as soon as there are some; they are looked for when somebody has written to the file."""
        seen = None
        while not self._ended.is_set():
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if version != seen:
                seen = version
                if rows := db.execute(_NEW, wanted).fetchall():
                    self._found_at = time.monotonic()
                    return rows
            at = time.monotonic()
            pause = _POLL_S if at - self._found_at < _QUIET_S else _QUIET_POLL_S
            if at >= until or stop.wait(min(pause, until - at)):
                break
        return []

    async def seek(self, buckets: Mapping[str, int]) -> dict[str, int]:
        wanted = json.dumps(dict(buckets))
        return await self._db.read(lambda db: dict(tuple(row) for row in db.execute(_SOUGHT, [wanted])))

    async def ends(self, topics: Sequence[str]) -> dict[str, int]:
        sql = f"SELECT topic, max(position) FROM records WHERE topic {IN} GROUP BY topic"
        found = await self._db.read(lambda db: dict(tuple(row) for row in db.execute(sql, [listed(topics)])))
        return {topic: found.get(topic, 0) for topic in topics}

    async def close(self) -> None:
        self._ended.set()
        await self._reading.close()
        await super().close()


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
