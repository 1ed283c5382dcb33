"""Strategies and their event log in PostgreSQL, committed synchronously."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from qmtl.backends.strategy_rows import COLUMNS, placement_bytes, stored
from qmtl.errors import UnavailableError
from qmtl.ports.strategy_store import Accepted, LogEntry, Stored, StrategyStore, Submission, Transition

T = TypeVar("T")
Rows = AsyncConnection[dict[str, Any]]

_CONNECT_S, _WAIT_S, _DEADLINE_S = 2, 3.0, 6.0
_CONNECTIONS = 8
#: Transactions that lost a race are run again so often.
_ATTEMPTS = 3
#: Any number will do, as long as nobody else takes it.
_MIGRATION_LOCK = 7_165_001

SCHEMA = """
CREATE TABLE IF NOT EXISTS strategies (
    seq bigserial PRIMARY KEY, strategy_id text NOT NULL UNIQUE, key text UNIQUE, owner text NOT NULL,
    run_type text NOT NULL, dag bytea NOT NULL, dag_hash text NOT NULL, meta text NOT NULL, state text NOT NULL,
    fence bigint NOT NULL, placement bytea, detail text, submitted_at float8 NOT NULL, updated_at float8 NOT NULL
);
ALTER TABLE strategies ALTER COLUMN dag SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS strategies_by_state ON strategies (state, seq);
CREATE INDEX IF NOT EXISTS strategies_by_owner ON strategies (owner, seq);
CREATE TABLE IF NOT EXISTS events (
    seq bigserial PRIMARY KEY, strategy_id text NOT NULL, source text, target text NOT NULL,
    cause text NOT NULL, at float8 NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_strategy ON events (strategy_id, seq);
"""

_EXPIRE = "UPDATE strategies SET key = NULL WHERE key = ANY(%s) AND submitted_at <= %s"
# Places are given in the order of arrival; rows are written in the order of their keys, so that two
# transactions with the same keys wait for each other instead of blocking each other.
_ACCEPT = """
WITH arrived AS MATERIALIZED (
    SELECT nextval('strategies_seq_seq') AS seq, a.* FROM unnest(
        %s::text[], %s::text[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::text[], %s::float8[]
    ) AS a (strategy_id, key, owner, run_type, dag, dag_hash, meta, at)
), made AS (
    INSERT INTO strategies
        (seq, strategy_id, key, owner, run_type, dag, dag_hash, meta, state, fence, submitted_at, updated_at)
    SELECT seq, strategy_id, key, owner, run_type, dag, dag_hash, meta, 'queued', 0, at, at FROM arrived ORDER BY key
    ON CONFLICT DO NOTHING RETURNING strategy_id, submitted_at
)
INSERT INTO events (strategy_id, source, target, cause, at)
SELECT strategy_id, NULL, 'queued', 'submitted', submitted_at FROM made
"""
_STANDING = "SELECT key, strategy_id, seq FROM strategies WHERE key = ANY(%s)"
_MOVE = """
WITH moved AS (
    UPDATE strategies SET state = %s, fence = %s, updated_at = %s, placement = coalesce(%s, placement),
        detail = coalesce(%s, detail), key = CASE WHEN %s THEN NULL ELSE key END
    WHERE strategy_id = %s AND state = %s AND fence <= %s RETURNING strategy_id
)
INSERT INTO events (strategy_id, source, target, cause, at) SELECT strategy_id, %s, %s, %s, %s FROM moved
"""


class PostgresStrategies(StrategyStore):
    """Strategies in one database; it is the truth."""

    kind = "postgresql"

    def __init__(self, pool: AsyncConnectionPool[Rows]) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open by URL, and bring the tables about; while nobody answers, that waits for the first call."""
        pool: AsyncConnectionPool[Rows] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=_WAIT_S,
            reconnect_timeout=2.0,
            open=False,
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
            kwargs={"connect_timeout": _CONNECT_S, "row_factory": dict_row, "application_name": "qmtl"},
        )
        await pool.open(wait=False)
        return cls(pool)

    async def check(self) -> str:
        async def version(db: Rows) -> str:
            row = await (await db.execute("SHOW server_version")).fetchone()
            return str(row["server_version"]) if row else ""

        return await self._run(version)

    async def close(self) -> None:
        await self._pool.close(timeout=_WAIT_S)

    async def accept(self, submissions: Sequence[Submission], ttl_s: float) -> list[Accepted]:
        return await self._run(lambda db: _accept(db, submissions, ttl_s))

    async def get(self, strategy_ids: Sequence[str]) -> dict[str, Stored]:
        sql = f"SELECT {COLUMNS} FROM strategies WHERE strategy_id = ANY(%s)"
        return {row["strategy_id"]: stored(row) for row in await self._all(sql, [list(strategy_ids)])}

    async def dags(self, strategy_ids: Sequence[str]) -> dict[str, bytes]:
        sql = "SELECT strategy_id, dag FROM strategies WHERE strategy_id = ANY(%s)"
        return {row["strategy_id"]: bytes(row["dag"]) for row in await self._all(sql, [list(strategy_ids)])}

    async def find(
        self, *, owner: str | None = None, states: Sequence[str] = (), before: int | None = None, limit: int = 100
    ) -> list[Stored]:
        sql = f"""SELECT {COLUMNS} FROM strategies WHERE (%s::text IS NULL OR owner = %s)
            AND (%s OR state = ANY(%s)) AND (%s::bigint IS NULL OR seq < %s) ORDER BY seq DESC LIMIT %s"""
        values = [owner, owner, not states, list(states), before, before, limit]
        return [stored(row) for row in await self._all(sql, values)]

    async def unfinished(self, states: Sequence[str], after: int, limit: int) -> list[tuple[int, str]]:
        sql = "SELECT seq, strategy_id FROM strategies WHERE state = ANY(%s) AND seq > %s ORDER BY seq LIMIT %s"
        return [(row["seq"], row["strategy_id"]) for row in await self._all(sql, [list(states), after, limit])]

    async def transition(self, transitions: Sequence[Transition]) -> list[bool]:
        return await self._run(lambda db: _transition(db, transitions))

    async def log(self, strategy_id: str, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        sql = """SELECT seq, strategy_id, source, target, cause, at FROM events
            WHERE strategy_id = %s AND seq > %s ORDER BY seq LIMIT %s"""
        return [LogEntry(**row) for row in await self._all(sql, [strategy_id, after, limit])]

    async def _all(self, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        async def fetched(db: Rows) -> list[dict[str, Any]]:
            return await (await db.execute(sql, values)).fetchall()

        return await self._run(fetched)

    async def _run(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run one transaction within the deadline; one that lost a race is run again."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._within_deadline(work)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                if attempt == _ATTEMPTS - 1:
                    raise self._told(error) from error
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, OSError) as error:
                raise self._told(error) from error
        raise AssertionError("the loop returns or raises")

    async def _within_deadline(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        held: list[Rows] = []

        async def transaction() -> T:
            async with self._pool.connection() as connection:
                held.append(connection)
                return await work(connection)

        running = asyncio.create_task(transaction())
        done, _ = await asyncio.wait([running], timeout=_DEADLINE_S)
        if not done:
            _cut(held)
            done, _ = await asyncio.wait([running], timeout=1.0)
        if not done:
            running.cancel()
            raise psycopg.OperationalError(f"no answer within {_DEADLINE_S:.0f} s")
        return running.result()

    def _told(self, error: Exception) -> UnavailableError:
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "the log says why no connection could be made" if isinstance(error, PoolTimeout) else None
        return UnavailableError(f"PostgreSQL: {message}", dependency=self.role, hint=hint)


async def _configure(db: Rows) -> None:
    """Prepare a new connection: nothing waits for ever, a commit is on disk, the tables are there."""
    for setting in ("statement_timeout = 5000", "lock_timeout = 4000", "idle_in_transaction_session_timeout = 10000"):
        await db.execute(f"SET {setting}".encode())
    await db.execute("SET synchronous_commit = on")
    row = await (await db.execute("SELECT to_regclass('events_by_strategy') IS NOT NULL AS there")).fetchone()
    if not (row and row["there"]):
        await db.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        await db.execute(SCHEMA.encode())
    await db.commit()


def _cut(held: list[Rows]) -> None:
    """Cut a connection that does not answer: a frozen server would hold even its cancellation for ever."""
    for connection in held:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)


async def _accept(db: Rows, new: Sequence[Submission], ttl_s: float) -> list[Accepted]:
    keys = sorted({one.key for one in new})
    await db.execute(_EXPIRE, [keys, min(one.at for one in new) - ttl_s])
    standing: dict[str, dict[str, Any]] = {}
    left = list(new)
    for _ in range(_ATTEMPTS):  # a key may be given up between the two statements
        await db.execute(_ACCEPT, _columns(left))
        rows = await (await db.execute(_STANDING, [keys])).fetchall()
        standing |= {row["key"]: row for row in rows}
        left = [one for one in left if one.key not in standing]
        if not left:
            break
    else:
        raise psycopg.errors.SerializationFailure("keys were given up while they were taken")
    found = [(one, standing[one.key]) for one in new]
    return [Accepted(row["strategy_id"], row["strategy_id"] == one.strategy_id, row["seq"]) for one, row in found]


def _columns(new: Sequence[Submission]) -> list[list[Any]]:
    names = ("strategy_id", "key", "owner", "run_type", "dag", "dag_hash")
    columns: list[list[Any]] = [[getattr(one, name) for one in new] for name in names]
    return [*columns, [json.dumps(one.meta) for one in new], [one.at for one in new]]


async def _transition(db: Rows, steps: Sequence[Transition]) -> list[bool]:
    async with db.pipeline():
        cursors = [await db.execute(_MOVE, _move(step)) for step in steps]
    return [cursor.rowcount == 1 for cursor in cursors]


def _move(step: Transition) -> tuple[Any, ...]:
    placement = placement_bytes(step.placement)
    detail = step.detail and step.detail.replace("\0", "")  # text that PostgreSQL refuses
    head = (step.target, step.fence, step.at, placement, detail, step.frees_key)
    return (*head, step.strategy_id, step.source, step.fence, step.source, step.target, step.cause, step.at)
