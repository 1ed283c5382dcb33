"""The global graph in Neo4j 5, in plain Cypher.

Writers take turns: every write begins with a lock on one node, so what it reads stays true until it commits. Readers
never wait.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, LiteralString, Self, TypeVar
from urllib.parse import urlsplit

from neo4j import AsyncDriver, AsyncGraphDatabase, AsyncManagedTransaction, NotificationMinimumSeverity, Query
from neo4j.exceptions import DriverError, Neo4jError

from qmtl.backends import cypher
from qmtl.backends.standing import Standing, StandingQueue, admitted
from qmtl.errors import ServiceError, UnavailableError
from qmtl.graph.identity import Parts
from qmtl.ports.graph_store import (
    DROPPING,
    PENDING,
    READY,
    Change,
    Emission,
    Known,
    StoredNode,
    StoredQueue,
    StoredSentinel,
    Wanted,
    orphans,
)
from qmtl.ports.version_store import VersionedGraph
from qmtl.wire.messages import NodeInfo, QueueInfo, QueueQuery

T = TypeVar("T")
Row = dict[str, Any]
Work = Callable[[AsyncManagedTransaction], Awaitable[T]]

_CONNECT_S, _RETRY_S = 2.0, 4.0
#: The driver waits for ever for a server that is frozen; we do not, in seconds.
_DEADLINE_S = 10.0
#: So long a late diff of an ended strategy is recognised, in seconds.
_REMEMBERED_S = 7 * 86_400.0


class Neo4jGraph(VersionedGraph):
    """Graph and versions in one database."""

    kind = "neo4j"

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver
        self._migrated = False
        self._migrating = asyncio.Lock()

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open ``neo4j://user:password@host:7687``; whether somebody answers shows with the first call."""
        parts = urlsplit(url)
        driver = AsyncGraphDatabase.driver(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            auth=(parts.username, parts.password or "") if parts.username else None,
            connection_timeout=_CONNECT_S,
            connection_acquisition_timeout=_CONNECT_S,
            max_transaction_retry_time=_RETRY_S,
            notifications_min_severity=NotificationMinimumSeverity.OFF,
            user_agent="qmtl",
        )
        return cls(driver)

    async def check(self) -> str:
        return str((await self._read(cypher.VERSION))[0]["version"])

    async def close(self) -> None:
        await self._driver.close()

    # ------------------------------------------------------------------------------------- diffs

    async def fetch(self, wanted: Sequence[Wanted]) -> Known:
        known = Known()
        (found,) = await self._read(cypher.KNOWN, ids=[one.node_id for one in wanted])
        known.nodes.update({row.pop("node_id"): Parts(**row) for row in found["nodes"]})
        _learn(known, found)
        if missing := orphans(wanted, known):
            pairs = [list(pair) for pair in {(one.code_hash, one.config_hash) for one in missing}]
            topics = [topic for one in missing for topic in one.topics]
            (found,) = await self._read(cypher.NEAR, pairs=pairs, topics=topics)
            for node in map(_node, found["near"]):
                known.near.setdefault((node.code_hash, node.config_hash), []).append(node)
            _learn(known, found)
        return known

    async def apply(self, changes: Sequence[Change]) -> list[ServiceError | None]:
        async def write(tx: AsyncManagedTransaction) -> list[ServiceError | None]:
            (row,) = await _all(tx, cypher.STANDING, **cypher.touched(changes))
            verdicts, writable = admitted(_standing(row), changes)
            for statement, values in cypher.additions(writable):
                await _all(tx, statement, **values)
            return verdicts

        return await self._write(write)

    async def release(self, strategy_id: str, at: float) -> list[str]:
        async def write(tx: AsyncManagedTransaction) -> list[str]:
            await _all(tx, cypher.FORGET_RELEASED, before=at - _REMEMBERED_S)
            rows = await _all(tx, cypher.RELEASE, strategy_id=strategy_id, at=at)
            await _all(tx, cypher.RELEASE_SENTINELS, strategy_id=strategy_id, at=at)
            return sorted(row["topic"] for row in rows if row["topic"] is not None)

        return await self._write(write)

    # ----------------------------------------------------------------------------------- queries

    async def nodes(self, tags: Sequence[str] = (), limit: int = 100_000) -> list[NodeInfo]:
        rows = await self._read(cypher.NODES, tags=sorted(set(tags)), limit=limit)
        return [
            NodeInfo(
                **row["node"],
                topics=sorted(row["topics"]),
                strategies=sorted(row["strategies"]),
                tags=sorted(row["tags"]),
                inputs=row["inputs"],
            )
            for row in rows
        ]

    async def queues(self, query: QueueQuery, limit: int = 100_000) -> list[QueueInfo]:
        wanted = sorted(set(query.tags))
        least = len(wanted) if query.match == "all" else min(1, len(wanted))
        rows = await self._read(cypher.QUEUES, tags=wanted, least=least, interval=query.interval, limit=limit)
        return [QueueInfo(**row) for row in rows]

    # ----------------------------------------------------------------------------------- garbage

    async def mark(self, topics: Sequence[str], state: str, unused_since: float | None = None) -> list[str]:
        only = PENDING if unused_since is None and state == READY else None
        values: Row = {"topics": list(topics), "state": state, "only": only, "since": unused_since}
        return [row["topic"] for row in await self._change(cypher.MARK, **values)]

    async def next_term(self) -> int:
        (row,) = await self._change(cypher.TERM)
        return int(row["term"])

    async def forget(self, topics: Sequence[str]) -> list[str]:
        async def write(tx: AsyncManagedTransaction) -> list[str]:
            rows = await _all(tx, cypher.FORGET_QUEUES, topics=list(topics), dropping=DROPPING)
            await _all(tx, cypher.FORGET_NODES, ids=sorted({one for row in rows for one in row["ids"]}))
            return sorted(row["topic"] for row in rows)

        return await self._write(write)

    # ---------------------------------------------------------------------------------- versions

    async def sentinels(self) -> list[StoredSentinel]:
        return [StoredSentinel(**row) for row in await self._read(cypher.SENTINELS)]

    async def weigh(self, version: str, weight: float) -> bool:
        return bool(await self._change(cypher.WEIGH, version=version, weight=weight))

    async def drop_sentinel(self, version: str) -> bool:
        async def write(tx: AsyncManagedTransaction) -> bool:
            rows = await _all(tx, cypher.DROP_SENTINEL, version=version)
            await _all(tx, cypher.FORGET_NODES, ids=sorted({one for row in rows for one in row["ids"]}))
            return bool(rows)

        return await self._write(write)

    # ------------------------------------------------------------------------------------- calls

    async def _read(self, statement: LiteralString, **values: Any) -> list[Row]:
        async def read(tx: AsyncManagedTransaction) -> list[Row]:
            return await _all(tx, statement, **values)

        async def session() -> list[Row]:
            async with self._driver.session(default_access_mode="READ") as opened:
                return await opened.execute_read(read)

        return await self._in_time(session)

    async def _change(self, statement: LiteralString, **values: Any) -> list[Row]:
        return await self._write(lambda tx: _all(tx, statement, **values))

    async def _write(self, work: Work[T]) -> T:
        async def locked(tx: AsyncManagedTransaction) -> T:
            await _all(tx, cypher.LOCK)
            return await work(tx)

        async def session() -> T:
            async with self._driver.session() as opened:
                return await opened.execute_write(locked)

        return await self._in_time(session)

    async def _in_time(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._migrate()
                return await call()
        except TimeoutError:
            message = f"Neo4j: no answer within {_DEADLINE_S:.0f} s"
            raise UnavailableError(message, dependency=self.role) from None
        except (Neo4jError, DriverError, OSError) as error:
            message = (str(error).splitlines() or [type(error).__name__])[0]
            raise UnavailableError(f"Neo4j: {message}", dependency=self.role) from error

    async def _migrate(self) -> None:
        """Bring constraints and indexes about before the first call; doing it again changes nothing."""
        async with self._migrating:
            if not self._migrated:
                async with self._driver.session() as opened:
                    for statement in cypher.SCHEMA:
                        await (await opened.run(Query(statement))).consume()
                self._migrated = True


async def _all(tx: AsyncManagedTransaction, statement: LiteralString, **values: Any) -> list[Row]:
    return await (await tx.run(statement, **values)).data()


def _learn(known: Known, found: Row) -> None:
    for row in found["emissions"]:
        known.emissions[row["node_id"], row["domain"]] = Emission(**row)
    known.queues.update({row["topic"]: _queue(row) for row in found["queues"]})


def _standing(row: Row) -> Standing:
    return Standing(
        released=set(row["released"]),
        nodes=set(row["nodes"]),
        queues={one.pop("topic"): StandingQueue(**one) for one in row["queues"]},
        emissions={(one["node_id"], one["domain"]): Emission(**one) for one in row["emissions"]},
    )


def _node(row: Row) -> StoredNode:
    schema = json.loads(row["schema"]) if row["schema"] is not None else None
    return StoredNode(**(row | {"schema": schema, "inputs": tuple(row["inputs"]), "tags": tuple(row["tags"])}))


def _queue(row: Row) -> StoredQueue:
    return StoredQueue(**(row | {"tags": tuple(row["tags"])}))
