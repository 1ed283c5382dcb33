"""The global graph in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from qmtl.backends.embedded.sqlite import IN, SqlitePart, listed
from qmtl.backends.standing import Standing, StandingQueue, admitted
from qmtl.errors import ServiceError
from qmtl.graph.identity import Parts
from qmtl.ports.graph_store import (
    DROPPING,
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

SCHEMA = """
CREATE TABLE IF NOT EXISTS nodes (
    node_id TEXT PRIMARY KEY, node_type TEXT NOT NULL, code_hash TEXT NOT NULL, config_hash TEXT NOT NULL,
    schema_hash TEXT NOT NULL, schema TEXT, interval INTEGER NOT NULL, period INTEGER NOT NULL, inputs TEXT NOT NULL,
    tags TEXT NOT NULL, owner TEXT NOT NULL, created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS nodes_by_code ON nodes (code_hash, config_hash);
CREATE TABLE IF NOT EXISTS queues (
    topic TEXT PRIMARY KEY, node_id TEXT NOT NULL REFERENCES nodes, domain TEXT NOT NULL, quality TEXT NOT NULL,
    interval INTEGER NOT NULL, tags TEXT NOT NULL, state TEXT NOT NULL, producer TEXT, created_by TEXT NOT NULL,
    created_at REAL NOT NULL, released_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS queues_by_node ON queues (node_id);
CREATE INDEX IF NOT EXISTS queues_by_producer ON queues (producer);
CREATE TABLE IF NOT EXISTS queue_tags (tag TEXT, topic TEXT, PRIMARY KEY (tag, topic)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS emissions (
    node_id TEXT NOT NULL, domain TEXT NOT NULL, topic TEXT NOT NULL, buffering_since REAL,
    PRIMARY KEY (node_id, domain)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS emissions_by_topic ON emissions (topic);
CREATE TABLE IF NOT EXISTS uses (strategy_id TEXT, topic TEXT, PRIMARY KEY (strategy_id, topic)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_by_topic ON uses (topic);
CREATE TABLE IF NOT EXISTS released (strategy_id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sentinels (
    version TEXT PRIMARY KEY, commit_hash TEXT NOT NULL, release_tag TEXT NOT NULL, traffic_weight REAL NOT NULL,
    created_at REAL NOT NULL, released_at REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sentinel_nodes (node_id TEXT, version TEXT, PRIMARY KEY (node_id, version)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sentinel_nodes_by_version ON sentinel_nodes (version);
CREATE TABLE IF NOT EXISTS sentinel_uses (
    version TEXT, strategy_id TEXT, PRIMARY KEY (version, strategy_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sentinel_uses_by_strategy ON sentinel_uses (strategy_id);
CREATE TABLE IF NOT EXISTS turns (name TEXT PRIMARY KEY, taken INTEGER NOT NULL) WITHOUT ROWID;
"""

_TERM = "INSERT INTO turns VALUES ('terms', 1) ON CONFLICT (name) DO UPDATE SET taken = taken + 1 RETURNING taken"
#: So long a late diff of an ended strategy is recognised, in seconds.
_REMEMBERED_S = 7 * 86_400.0
_PARTS = "SELECT node_id, node_type, code_hash, config_hash, schema_hash"
_EMITTED = """SELECT e.node_id, e.domain, e.buffering_since, q.topic, q.node_id, q.domain, q.quality, q.interval,
    q.tags, q.state, q.producer, q.created_by, q.created_at, q.released_at"""
_PINNED = """EXISTS (SELECT 1 FROM emissions e JOIN sentinel_nodes n ON n.node_id = e.node_id
    JOIN sentinels v ON v.version = n.version WHERE e.topic = q.topic AND v.traffic_weight > 0)"""


class SqliteGraph(SqlitePart, VersionedGraph):
    """Graph and versions in one file."""

    schema = SCHEMA

    async def fetch(self, wanted: Sequence[Wanted]) -> Known:
        return await self._db.read(lambda db: _fetch(db, wanted))

    async def apply(self, changes: Sequence[Change]) -> list[ServiceError | None]:
        def write(db: sqlite3.Connection) -> list[ServiceError | None]:
            verdicts, writable = admitted(_standing(db, changes), changes)
            for change in writable:
                _apply(db, change)
            return verdicts

        return await self._db.write(write)

    async def release(self, strategy_id: str, at: float) -> list[str]:
        return await self._db.write(lambda db: _release(db, strategy_id, at))

    async def nodes(self, tags: Sequence[str] = (), limit: int = 100_000) -> list[NodeInfo]:
        return await self._db.read(lambda db: _nodes(db, tags, limit))

    async def queues(self, query: QueueQuery, limit: int = 100_000) -> list[QueueInfo]:
        return await self._db.read(lambda db: _queues(db, query, limit))

    async def mark(self, topics: Sequence[str], state: str, unused_since: float | None = None) -> list[str]:
        unused = f"AND released_at <= ? AND topic NOT IN (SELECT topic FROM uses) AND NOT {_PINNED}"
        condition = unused if unused_since is not None else "AND state = 'pending'" if state == READY else ""
        sql = f"UPDATE queues AS q SET state = ? WHERE topic {IN} {condition}"
        values = [state, listed(topics), *([unused_since] if unused_since is not None else [])]
        return await self._db.write(lambda db: _column(db.execute(sql + " RETURNING topic", values)))

    async def next_term(self) -> int:
        return await self._db.write(lambda db: int(db.execute(_TERM).fetchone()[0]))

    async def forget(self, topics: Sequence[str]) -> list[str]:
        return await self._db.write(lambda db: _forget(db, topics))

    async def sentinels(self) -> list[StoredSentinel]:
        sql = """SELECT v.*, (SELECT count(*) FROM sentinel_uses u WHERE u.version = v.version) AS strategies
            FROM sentinels v ORDER BY created_at, version"""
        return await self._db.read(lambda db: [StoredSentinel(**dict(row)) for row in db.execute(sql)])

    async def weigh(self, version: str, weight: float) -> bool:
        sql = "UPDATE sentinels SET traffic_weight = ? WHERE version = ?"
        return await self._db.write(lambda db: db.execute(sql, (weight, version)).rowcount == 1)

    async def drop_sentinel(self, version: str) -> bool:
        return await self._db.write(lambda db: _drop_sentinel(db, version))


def _fetch(db: sqlite3.Connection, wanted: Sequence[Wanted]) -> Known:
    known = Known()
    ids = listed({one.node_id for one in wanted})
    for node_id, *parts in _tuples(db, f"{_PARTS} FROM nodes WHERE node_id {IN}", ids):
        known.nodes[node_id] = Parts(*parts)
    _emissions(db, ids, known)
    missing = orphans(wanted, known)
    if not missing:
        return known
    pairs = {(one.code_hash, one.config_hash) for one in missing}
    rows = _by(db, "nodes", "code_hash", {code for code, _ in pairs})
    for node in (_node(row) for row in rows if (row["code_hash"], row["config_hash"]) in pairs):
        known.near.setdefault((node.code_hash, node.config_hash), []).append(node)
    _emissions(db, listed([node.node_id for nodes in known.near.values() for node in nodes]), known)
    topics = {topic for one in missing for topic in one.topics}
    known.queues.update({row["topic"]: _queue(row) for row in _by(db, "queues", "topic", topics)})
    return known


def _emissions(db: sqlite3.Connection, ids: str, known: Known) -> None:
    """Learn the emissions of nodes, and their queues."""
    sql = f"{_EMITTED} FROM emissions e JOIN queues q USING (topic) WHERE e.node_id {IN}"
    for node_id, domain, since, *queue in _tuples(db, sql, ids):
        known.emissions[node_id, domain] = Emission(node_id, domain, queue[0], since)
        known.queues[queue[0]] = _queue(queue)


def _tuples(db: sqlite3.Connection, sql: str, *values: str) -> Iterable[tuple[Any, ...]]:
    """Return rows as they come: many of them are read, and none by name."""
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, values)


def _standing(db: sqlite3.Connection, changes: Sequence[Change]) -> Standing:
    ids = {one.node_id for change in changes for one in change.emissions}
    topics = {topic for change in changes for topic in (*change.uses, *(queue.topic for queue in change.queues))}
    queues = _tuples(
        db, f"SELECT topic, node_id, domain, state, created_by FROM queues WHERE topic {IN}", listed(topics)
    )
    return Standing(
        released={row["strategy_id"] for row in _by(db, "released", "strategy_id", {c.strategy_id for c in changes})},
        nodes={row["node_id"] for row in _by(db, "nodes", "node_id", ids)},
        queues={topic: StandingQueue(*rest) for topic, *rest in queues},
        emissions={(row["node_id"], row["domain"]): Emission(*row) for row in _by(db, "emissions", "node_id", ids)},
    )


def _apply(db: sqlite3.Connection, change: Change) -> None:
    db.executemany(f"INSERT OR IGNORE INTO nodes VALUES ({_marks(12)})", map(_node_row, change.nodes))
    db.executemany(f"INSERT OR IGNORE INTO queues VALUES ({_marks(11)})", map(_queue_row, change.queues))
    pairs = [(tag, queue.topic) for queue in change.queues for tag in queue.tags]
    db.executemany("INSERT OR IGNORE INTO queue_tags VALUES (?, ?)", pairs)
    db.executemany(
        "INSERT INTO emissions VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET topic = excluded.topic, buffering_since = NULL"
        " WHERE buffering_since IS NOT NULL AND excluded.buffering_since IS NULL",
        [(e.node_id, e.domain, e.topic, e.buffering_since) for e in change.emissions],
    )
    uses = listed(change.uses)
    db.execute("INSERT OR IGNORE INTO uses SELECT ?, value FROM json_each(?)", (change.strategy_id, uses))
    sql = f"UPDATE queues SET released_at = NULL WHERE topic {IN} AND released_at IS NOT NULL"
    db.execute(sql, [uses])
    produces = listed(change.produces)
    sql = f"UPDATE queues SET producer = ? WHERE producer IS NULL AND topic {IN}"
    db.execute(sql, [change.strategy_id, produces])
    if change.sentinel is not None:
        _apply_sentinel(db, change)


def _apply_sentinel(db: sqlite3.Connection, change: Change) -> None:
    assert change.sentinel is not None
    version = change.sentinel.version
    row = (version, change.sentinel.commit_hash, change.sentinel.release_tag, 0.0, change.at, None)
    sql = f"INSERT INTO sentinels VALUES ({_marks(6)}) ON CONFLICT DO UPDATE SET released_at = NULL"
    db.execute(sql, row)
    nodes = listed(change.sentinel_nodes)
    db.execute("INSERT OR IGNORE INTO sentinel_nodes SELECT value, ? FROM json_each(?)", (version, nodes))
    db.execute("INSERT OR IGNORE INTO sentinel_uses VALUES (?, ?)", (version, change.strategy_id))


def _release(db: sqlite3.Connection, strategy_id: str, at: float) -> list[str]:
    db.execute("DELETE FROM released WHERE at < ?", [at - _REMEMBERED_S])
    db.execute("INSERT OR IGNORE INTO released VALUES (?, ?)", (strategy_id, at))
    topics = _column(db.execute("DELETE FROM uses WHERE strategy_id = ? RETURNING topic", [strategy_id]))
    db.execute(
        """UPDATE queues SET producer = (SELECT min(strategy_id) FROM uses u WHERE u.topic = queues.topic)
        WHERE producer = ?""",
        [strategy_id],
    )
    sql = f"UPDATE queues SET released_at = ? WHERE topic {IN} AND topic NOT IN (SELECT topic FROM uses)"
    db.execute(sql, [at, listed(topics)])
    versions = _column(db.execute("DELETE FROM sentinel_uses WHERE strategy_id = ? RETURNING version", [strategy_id]))
    sql = f"""UPDATE sentinels SET released_at = ? WHERE version {IN}
        AND version NOT IN (SELECT version FROM sentinel_uses)"""
    db.execute(sql, [at, listed(versions)])
    return sorted(topics)


def _nodes(db: sqlite3.Connection, tags: Sequence[str], limit: int) -> list[NodeInfo]:
    sql = f"""SELECT *, (SELECT json_group_array(topic) FROM emissions e WHERE e.node_id = n.node_id) AS topics,
        (SELECT json_group_array(DISTINCT strategy_id) FROM emissions e JOIN uses u ON u.topic = e.topic
            WHERE e.node_id = n.node_id) AS strategies
        FROM nodes n WHERE (SELECT count(*) FROM json_each(n.tags) WHERE value {IN}) = ?
        ORDER BY created_at DESC, node_id LIMIT ?"""
    wanted = sorted(set(tags))
    return [
        NodeInfo(
            node_id=row["node_id"],
            node_type=row["node_type"],
            interval=row["interval"],
            period=row["period"],
            tags=sorted(json.loads(row["tags"])),
            inputs=json.loads(row["inputs"]),
            topics=sorted(json.loads(row["topics"])),
            strategies=sorted(json.loads(row["strategies"])),
            owner=row["owner"],
            created_at=row["created_at"],
        )
        for row in db.execute(sql, [listed(wanted), len(wanted), limit])
    ]


def _queues(db: sqlite3.Connection, query: QueueQuery, limit: int) -> list[QueueInfo]:
    wanted = sorted(set(query.tags))
    least = len(wanted) if query.match == "all" else min(1, len(wanted))
    sql = f"""SELECT q.*, n.node_type, {_PINNED} AS pinned,
        (SELECT count(*) FROM uses u WHERE u.topic = q.topic) AS strategies
        FROM queues q JOIN nodes n USING (node_id)
        WHERE (? = 0 OR q.topic IN
            (SELECT topic FROM queue_tags WHERE tag {IN} GROUP BY topic HAVING count(*) >= ?))
        AND (? IS NULL OR q.interval = ?) ORDER BY q.topic LIMIT ?"""
    rows = db.execute(sql, [least, listed(wanted), least, query.interval, query.interval, limit])
    fields = [name for name in QueueInfo.__struct_fields__ if name not in {"tags", "pinned"}]
    return [
        QueueInfo(**{k: row[k] for k in fields}, tags=json.loads(row["tags"]), pinned=bool(row["pinned"]))
        for row in rows
    ]


def _forget(db: sqlite3.Connection, topics: Sequence[str]) -> list[str]:
    sql = f"DELETE FROM queues WHERE state = ? AND topic {IN} RETURNING topic"
    gone = _column(db.execute(sql, [DROPPING, listed(topics)]))
    dropped = listed(gone)
    db.execute(f"DELETE FROM queue_tags WHERE topic {IN}", [dropped])
    nodes = _column(db.execute(f"DELETE FROM emissions WHERE topic {IN} RETURNING node_id", [dropped]))
    _drop_nodes(db, nodes)
    return sorted(gone)


def _drop_nodes(db: sqlite3.Connection, nodes: Sequence[str]) -> None:
    """Remove nodes that neither a queue nor a version nor the fields of a near node need."""
    db.execute(
        f"""DELETE FROM nodes WHERE node_id {IN} AND node_id NOT IN (SELECT node_id FROM emissions)
        AND node_id NOT IN (SELECT node_id FROM sentinel_nodes) AND node_id NOT IN (SELECT node_id FROM queues)""",
        [listed(nodes)],
    )


def _drop_sentinel(db: sqlite3.Connection, version: str) -> bool:
    sql = "DELETE FROM sentinels WHERE version = ? AND version NOT IN (SELECT version FROM sentinel_uses)"
    if not db.execute(sql, [version]).rowcount:
        return False
    nodes = _column(db.execute("DELETE FROM sentinel_nodes WHERE version = ? RETURNING node_id", [version]))
    _drop_nodes(db, nodes)
    return True


def _by(db: sqlite3.Connection, table: str, column: str, values: Iterable[str]) -> Iterable[sqlite3.Row]:
    return db.execute(f"SELECT * FROM {table} WHERE {column} {IN}", [listed(values)])


def _column(rows: Iterable[sqlite3.Row]) -> list[str]:
    return [str(row[0]) for row in rows]


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _node(row: sqlite3.Row) -> StoredNode:
    found: dict[str, Any] = dict(row)
    found["schema"] = json.loads(found["schema"]) if found["schema"] is not None else None
    found["inputs"], found["tags"] = tuple(json.loads(found["inputs"])), tuple(json.loads(found["tags"]))
    return StoredNode(**found)


def _queue(row: Sequence[Any]) -> StoredQueue:
    topic, node_id, domain, quality, interval, tags, *rest = row
    return StoredQueue(topic, node_id, domain, quality, interval, _tags(tags), *rest)


@lru_cache(maxsize=4096)
def _tags(listed: str) -> tuple[str, ...]:
    return tuple(json.loads(listed))


def _node_row(node: StoredNode) -> tuple[Any, ...]:
    schema = json.dumps(node.schema) if node.schema is not None else None
    head = (node.node_id, node.node_type, node.code_hash, node.config_hash, node.schema_hash, schema)
    tail = (json.dumps(node.inputs), json.dumps(node.tags), node.owner, node.created_at)
    return (*head, node.interval, node.period, *tail)


def _queue_row(queue: StoredQueue) -> tuple[Any, ...]:
    head = (queue.topic, queue.node_id, queue.domain, queue.quality, queue.interval, json.dumps(queue.tags))
    return (*head, queue.state, queue.producer, queue.created_by, queue.created_at, queue.released_at)
