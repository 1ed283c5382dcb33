"""Strategies and their event log in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from qmtl.backends.embedded.sqlite import IN, SqlitePart, listed
from qmtl.backends.strategy_rows import COLUMNS, placement_bytes, stored
from qmtl.ports.strategy_store import Accepted, LogEntry, Stored, StrategyStore, Submission, Transition

SCHEMA = """
CREATE TABLE IF NOT EXISTS strategies (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, strategy_id TEXT NOT NULL UNIQUE, key TEXT UNIQUE, owner TEXT NOT NULL,
    run_type TEXT NOT NULL, dag BLOB NOT NULL, dag_hash TEXT NOT NULL, meta TEXT NOT NULL, state TEXT NOT NULL,
    fence INTEGER NOT NULL, placement BLOB, detail TEXT, submitted_at REAL NOT NULL, updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS strategies_by_state ON strategies (state, seq);
CREATE INDEX IF NOT EXISTS strategies_by_owner ON strategies (owner, seq);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, strategy_id TEXT NOT NULL, source TEXT, target TEXT NOT NULL,
    cause TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_strategy ON events (strategy_id, seq);
"""


class SqliteStrategies(SqlitePart, StrategyStore):
    """Strategies in one file."""

    schema = SCHEMA

    async def accept(self, submissions: Sequence[Submission], ttl_s: float) -> list[Accepted]:
        return await self._db.write(lambda db: [_accept(db, submission, ttl_s) for submission in submissions])

    async def get(self, strategy_ids: Sequence[str]) -> dict[str, Stored]:
        sql = f"SELECT {COLUMNS} FROM strategies WHERE strategy_id {IN}"
        found = await self._db.read(lambda db: [stored(dict(row)) for row in db.execute(sql, [listed(strategy_ids)])])
        return {one.strategy_id: one for one in found}

    async def dags(self, strategy_ids: Sequence[str]) -> dict[str, bytes]:
        sql = f"SELECT strategy_id, dag FROM strategies WHERE strategy_id {IN}"
        return await self._db.read(lambda db: {row[0]: row[1] for row in db.execute(sql, [listed(strategy_ids)])})

    async def find(
        self, *, owner: str | None = None, states: Sequence[str] = (), before: int | None = None, limit: int = 100
    ) -> list[Stored]:
        sql = f"""SELECT {COLUMNS} FROM strategies WHERE (? IS NULL OR owner = ?) AND (? OR state {IN})
            AND (? IS NULL OR seq < ?) ORDER BY seq DESC LIMIT ?"""
        values = [owner, owner, not states, listed(states), before, before, limit]
        return await self._db.read(lambda db: [stored(dict(row)) for row in db.execute(sql, values)])

    async def unfinished(self, states: Sequence[str], after: int, limit: int) -> list[tuple[int, str]]:
        sql = f"SELECT seq, strategy_id FROM strategies WHERE state {IN} AND seq > ? ORDER BY seq LIMIT ?"
        values = [listed(states), after, limit]
        return await self._db.read(lambda db: [(row[0], row[1]) for row in db.execute(sql, values)])

    async def transition(self, transitions: Sequence[Transition]) -> list[bool]:
        return await self._db.write(lambda db: [_transition(db, transition) for transition in transitions])

    async def log(self, strategy_id: str, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        sql = "SELECT * FROM events WHERE strategy_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        return await self._db.read(lambda db: [LogEntry(*row) for row in db.execute(sql, [strategy_id, after, limit])])


def _accept(db: sqlite3.Connection, new: Submission, ttl_s: float) -> Accepted:
    expired = "UPDATE strategies SET key = NULL WHERE key = ? AND submitted_at <= ?"
    db.execute(expired, [new.key, new.at - ttl_s])
    found = db.execute("SELECT strategy_id, seq FROM strategies WHERE key = ?", [new.key]).fetchone()
    if found is not None:
        return Accepted(found["strategy_id"], created=False, seq=found["seq"])
    row = (
        new.strategy_id,
        new.key,
        new.owner,
        new.run_type,
        new.dag,
        new.dag_hash,
        json.dumps(new.meta),
        new.at,
        new.at,
    )
    columns = "strategy_id, key, owner, run_type, dag, dag_hash, meta, submitted_at, updated_at, state, fence"
    made = db.execute(f"INSERT INTO strategies ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', 0)", row)
    _record(db, new.strategy_id, None, "queued", "submitted", new.at)
    return Accepted(new.strategy_id, created=True, seq=int(made.lastrowid or 0))


def _transition(db: sqlite3.Connection, step: Transition) -> bool:
    sql = """UPDATE strategies SET state = ?, fence = ?, updated_at = ?, placement = coalesce(?, placement),
        detail = coalesce(?, detail), key = iif(?, NULL, key) WHERE strategy_id = ? AND state = ? AND fence <= ?"""
    placement = placement_bytes(step.placement)
    head = (step.target, step.fence, step.at, placement, step.detail, step.frees_key)
    if not db.execute(sql, (*head, step.strategy_id, step.source, step.fence)).rowcount:
        return False
    _record(db, step.strategy_id, step.source, step.target, step.cause, step.at)
    return True


def _record(db: sqlite3.Connection, strategy_id: str, source: str | None, target: str, cause: str, at: float) -> None:
    sql = "INSERT INTO events (strategy_id, source, target, cause, at) VALUES (?, ?, ?, ?, ?)"
    db.execute(sql, (strategy_id, source, target, cause, at))
