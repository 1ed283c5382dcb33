"""The statements of the Neo4j graph store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

from msgspec.structs import asdict

from qmtl.ports.graph_store import Change, StoredNode

#: Idempotent migrations, in order; ``qmtl-dagm export-schema`` writes them.
SCHEMA: tuple[LiteralString, ...] = (
    "CREATE CONSTRAINT compute_node_id IF NOT EXISTS FOR (n:ComputeNode) REQUIRE n.node_id IS UNIQUE",
    "CREATE CONSTRAINT queue_topic IF NOT EXISTS FOR (q:Queue) REQUIRE q.topic IS UNIQUE",
    "CREATE CONSTRAINT sentinel_version IF NOT EXISTS FOR (v:VersionSentinel) REQUIRE v.version IS UNIQUE",
    "CREATE CONSTRAINT strategy_id IF NOT EXISTS FOR (s:Strategy) REQUIRE s.strategy_id IS UNIQUE",
    "CREATE CONSTRAINT turn_name IF NOT EXISTS FOR (t:Turn) REQUIRE t.name IS UNIQUE",
    "CREATE CONSTRAINT artifact_path IF NOT EXISTS FOR (a:Artifact) REQUIRE a.path IS UNIQUE",
    "CREATE INDEX compute_node_code IF NOT EXISTS FOR (n:ComputeNode) ON (n.code_hash)",
    "CREATE INDEX queue_node IF NOT EXISTS FOR (q:Queue) ON (q.node_id)",
    "CREATE INDEX queue_producer IF NOT EXISTS FOR (q:Queue) ON (q.producer)",
    "CREATE INDEX strategy_released IF NOT EXISTS FOR (s:Strategy) ON (s.released_at)",
)

VERSION: LiteralString = "CALL dbms.components() YIELD versions RETURN versions[0] AS version"

#: Setting a property takes the write lock of the node, which is held until the transaction ends.
LOCK: LiteralString = "MERGE (t:Turn {name: 'writers'}) SET t.taken = coalesce(t.taken, 0) + 1"

TERM: LiteralString = "MERGE (t:Turn {name: 'terms'}) SET t.taken = coalesce(t.taken, 0) + 1 RETURN t.taken AS term"

_QUEUE: LiteralString = """{.topic, .node_id, .domain, .quality, .interval, .tags, .state, .producer, .created_by,
    .created_at, .released_at}"""

KNOWN: LiteralString = (
    """
MATCH (n:ComputeNode) WHERE n.node_id IN $ids
OPTIONAL MATCH (n)-[e:EMITS]->(q:Queue)
WITH collect(DISTINCT n {.node_id, .node_type, .code_hash, .config_hash, .schema_hash}) AS nodes,
    collect(CASE WHEN q IS NULL THEN NULL ELSE
        {node_id: n.node_id, domain: e.domain, topic: q.topic, buffering_since: e.buffering_since} END) AS emissions,
    collect(DISTINCT q """
    + _QUEUE
    + """) AS queues
RETURN nodes, emissions, queues
"""
)

NEAR: LiteralString = (
    """
CALL {
    UNWIND $pairs AS pair MATCH (n:ComputeNode {code_hash: pair[0]}) WHERE n.config_hash = pair[1]
    RETURN collect(DISTINCT n) AS near
}
CALL {
    WITH near UNWIND near AS n MATCH (n)-[e:EMITS]->(q:Queue)
    RETURN collect({node_id: n.node_id, domain: e.domain, topic: q.topic, buffering_since: e.buffering_since})
        AS emissions
}
WITH near, emissions, $topics + [e IN emissions | e.topic] AS topics
CALL { WITH topics MATCH (q:Queue) WHERE q.topic IN topics RETURN collect(q """
    + _QUEUE
    + """) AS queues }
RETURN
    [n IN near | n {.node_id, .node_type, .code_hash, .config_hash, .schema_hash, .schema, .interval, .period,
        .inputs, .tags, .owner, .created_at}] AS near,
    emissions, queues
"""
)

STANDING: LiteralString = """
CALL {
    MATCH (s:Strategy) WHERE s.strategy_id IN $strategies AND s.released_at IS NOT NULL
    RETURN collect(s.strategy_id) AS released
}
CALL { MATCH (n:ComputeNode) WHERE n.node_id IN $ids RETURN collect(n.node_id) AS nodes }
CALL {
    MATCH (q:Queue) WHERE q.topic IN $topics
    RETURN collect(q {.topic, .node_id, .domain, .state, .created_by}) AS queues
}
CALL {
    MATCH (n:ComputeNode)-[e:EMITS]->(q:Queue) WHERE n.node_id IN $ids
    RETURN collect({node_id: n.node_id, domain: e.domain, topic: q.topic, buffering_since: e.buffering_since})
        AS emissions
}
RETURN released, nodes, queues, emissions
"""

_NODES: LiteralString = """
UNWIND $nodes AS row MERGE (n:ComputeNode {node_id: row.node_id}) ON CREATE SET n = row
"""
_READS: LiteralString = """
UNWIND $reads AS pair
MATCH (n:ComputeNode {node_id: pair[0]}) MATCH (m:ComputeNode {node_id: pair[1]}) MERGE (n)-[:READS]->(m)
"""
_QUEUES: LiteralString = "UNWIND $queues AS row MERGE (q:Queue {topic: row.topic}) ON CREATE SET q = row"
_EMISSIONS: LiteralString = """
UNWIND $emissions AS row
MATCH (n:ComputeNode {node_id: row.node_id}) MATCH (q:Queue {topic: row.topic})
CALL {
    WITH n, row MATCH (n)-[old:EMITS {domain: row.domain}]->(other:Queue) WHERE other.topic <> row.topic DELETE old
}
MERGE (n)-[e:EMITS {domain: row.domain}]->(q) ON CREATE SET e.buffering_since = row.buffering_since
"""
_STRATEGIES: LiteralString = "UNWIND $strategies AS id MERGE (:Strategy {strategy_id: id})"
_USES: LiteralString = """
UNWIND $uses AS pair MATCH (s:Strategy {strategy_id: pair[0]}) MATCH (q:Queue {topic: pair[1]})
MERGE (s)-[:USES]->(q) SET q.released_at = NULL
"""
_PRODUCES: LiteralString = """
UNWIND $produces AS pair MATCH (q:Queue {topic: pair[1]})
SET q.producer = coalesce(q.producer, pair[0])
"""
_SENTINELS: LiteralString = """
UNWIND $sentinels AS row
MERGE (v:VersionSentinel {version: row.version})
ON CREATE SET v.commit_hash = row.commit_hash, v.release_tag = row.release_tag, v.traffic_weight = 0.0,
    v.created_at = row.at
SET v.released_at = NULL
WITH row, v MATCH (s:Strategy {strategy_id: row.strategy_id}) MERGE (s)-[:RUNS]->(v)
WITH row, v UNWIND row.nodes AS id MATCH (n:ComputeNode {node_id: id}) MERGE (v)-[:HAS]->(n)
"""

FORGET_RELEASED: LiteralString = "MATCH (s:Strategy) WHERE s.released_at < $before DETACH DELETE s"
RELEASE: LiteralString = """
MERGE (s:Strategy {strategy_id: $strategy_id})
SET s.released_at = coalesce(s.released_at, $at)
WITH s OPTIONAL MATCH (s)-[u:USES]->(q:Queue) DELETE u
WITH DISTINCT q, q.topic AS topic
CALL {
    WITH q OPTIONAL MATCH (other:Strategy)-[:USES]->(q) WHERE other.strategy_id <> $strategy_id
    RETURN min(other.strategy_id) AS heir
}
FOREACH (_ IN CASE WHEN q IS NULL THEN [] ELSE [1] END |
    SET q.producer = CASE WHEN q.producer = $strategy_id THEN heir ELSE q.producer END,
        q.released_at = CASE WHEN heir IS NULL THEN $at ELSE q.released_at END)
RETURN topic
"""
RELEASE_SENTINELS: LiteralString = """
MATCH (:Strategy {strategy_id: $strategy_id})-[r:RUNS]->(v:VersionSentinel) DELETE r
WITH v WHERE NOT EXISTS { MATCH (other:Strategy)-[:RUNS]->(v) WHERE other.strategy_id <> $strategy_id }
SET v.released_at = $at
"""

NODES: LiteralString = """
MATCH (n:ComputeNode) WHERE all(tag IN $tags WHERE tag IN n.tags)
WITH n ORDER BY n.created_at DESC, n.node_id LIMIT $limit
OPTIONAL MATCH (n)-[:EMITS]->(q:Queue) OPTIONAL MATCH (s:Strategy)-[:USES]->(q)
WITH n, collect(DISTINCT q.topic) AS topics, collect(DISTINCT s.strategy_id) AS strategies
RETURN n {.node_id, .node_type, .interval, .period, .owner, .created_at} AS node,
    n.tags AS tags, n.inputs AS inputs, topics, strategies
ORDER BY n.created_at DESC, n.node_id
"""

QUEUES: LiteralString = """
MATCH (q:Queue)
WHERE ($least = 0 OR size([tag IN $tags WHERE tag IN q.tags]) >= $least)
    AND ($interval IS NULL OR q.interval = $interval)
WITH q ORDER BY q.topic LIMIT $limit
MATCH (n:ComputeNode {node_id: q.node_id})
RETURN q.topic AS topic, q.node_id AS node_id, n.node_type AS node_type, q.domain AS domain, q.quality AS quality,
    q.state AS state, q.interval AS interval, q.tags AS tags, q.producer AS producer,
    COUNT { (:Strategy)-[:USES]->(q) } AS strategies,
    EXISTS { (q)<-[:EMITS]-(:ComputeNode)<-[:HAS]-(v:VersionSentinel) WHERE v.traffic_weight > 0 } AS pinned,
    q.created_at AS created_at, q.released_at AS released_at
ORDER BY q.topic
"""

MARK: LiteralString = """
MATCH (q:Queue) WHERE q.topic IN $topics AND ($only IS NULL OR q.state = $only)
    AND ($since IS NULL OR (q.released_at <= $since AND NOT EXISTS { (:Strategy)-[:USES]->(q) }
        AND NOT EXISTS { (q)<-[:EMITS]-(:ComputeNode)<-[:HAS]-(v:VersionSentinel) WHERE v.traffic_weight > 0 }))
SET q.state = $state RETURN q.topic AS topic
"""
FORGET_QUEUES: LiteralString = """
MATCH (q:Queue) WHERE q.topic IN $topics AND q.state = $dropping
WITH q, q.topic AS topic, q.node_id AS owner, [(q)<-[:EMITS]-(n:ComputeNode) | n.node_id] AS ids
DETACH DELETE q RETURN topic, ids + [owner] AS ids
"""
FORGET_NODES: LiteralString = """
UNWIND $ids AS id MATCH (n:ComputeNode {node_id: id})
WHERE NOT EXISTS { (n)-[:EMITS]->(:Queue) } AND NOT EXISTS { (n)<-[:HAS]-(:VersionSentinel) }
    AND NOT EXISTS { MATCH (q:Queue {node_id: id}) }
DETACH DELETE n
"""

SENTINELS: LiteralString = """
MATCH (v:VersionSentinel)
RETURN v.version AS version, v.commit_hash AS commit_hash, v.release_tag AS release_tag,
    v.traffic_weight AS traffic_weight, v.created_at AS created_at, v.released_at AS released_at,
    COUNT { (:Strategy)-[:RUNS]->(v) } AS strategies
ORDER BY v.created_at, v.version
"""
WEIGH: LiteralString = """
MATCH (v:VersionSentinel {version: $version}) SET v.traffic_weight = $weight RETURN v.version AS version
"""
DROP_SENTINEL: LiteralString = """
MATCH (v:VersionSentinel {version: $version}) WHERE NOT EXISTS { (:Strategy)-[:RUNS]->(v) }
WITH v, v.version AS version, [(v)-[:HAS]->(n:ComputeNode) | n.node_id] AS ids
DETACH DELETE v RETURN version, ids
"""


def touched(changes: Sequence[Change]) -> dict[str, list[str]]:
    """Return what has to be read to judge changes."""
    topics = {topic for change in changes for topic in (*change.uses, *(queue.topic for queue in change.queues))}
    return {
        "strategies": [change.strategy_id for change in changes],
        "ids": sorted({one.node_id for change in changes for one in change.emissions}),
        "topics": sorted(topics),
    }


def additions(changes: Sequence[Change]) -> Iterator[tuple[LiteralString, dict[str, Any]]]:
    """Yield the statements that add verified changes, with their values; those with nothing to add are left out."""
    nodes = [node for change in changes for node in change.nodes]
    pairs = [[node.node_id, one] for node in nodes for one in dict.fromkeys(node.inputs)]
    queues = [asdict(queue) | {"tags": list(queue.tags)} for change in changes for queue in change.queues]
    statements: tuple[tuple[LiteralString, str, list[Any]], ...] = (
        (_NODES, "nodes", [_properties(node) for node in nodes]),
        (_READS, "reads", pairs),
        (_QUEUES, "queues", queues),
        (_EMISSIONS, "emissions", [asdict(emission) for change in changes for emission in change.emissions]),
        (_STRATEGIES, "strategies", [change.strategy_id for change in changes]),
        (_USES, "uses", [[change.strategy_id, topic] for change in changes for topic in change.uses]),
        (_PRODUCES, "produces", [[change.strategy_id, topic] for change in changes for topic in change.produces]),
        (_SENTINELS, "sentinels", [_version(change) for change in changes if change.sentinel]),
    )
    return ((statement, {name: rows}) for statement, name, rows in statements if rows)


def _version(change: Change) -> dict[str, Any]:
    assert change.sentinel is not None
    named = {"version": change.sentinel.version, "commit_hash": change.sentinel.commit_hash}
    about = {"release_tag": change.sentinel.release_tag, "at": change.at, "nodes": list(change.sentinel_nodes)}
    return {"strategy_id": change.strategy_id, **named, **about}


def _properties(node: StoredNode) -> dict[str, Any]:
    """Return what a node's properties are: lists and texts, for Neo4j keeps no maps."""
    schema = json.dumps(node.schema) if node.schema is not None else None
    return asdict(node) | {"inputs": list(node.inputs), "tags": list(node.tags), "schema": schema}
