"""What the contract suites write: nodes, queues, changes, submissions."""

from __future__ import annotations

from dataclasses import replace

from qmtl.graph.identity import Parts
from qmtl.ports.graph_store import PENDING, Change, Emission, StoredNode, StoredQueue, Wanted
from qmtl.ports.strategy_store import Stored, Submission, Transition
from qmtl.wire.messages import Sentinel


def node(name: str, *, inputs: tuple[str, ...] = (), tags: tuple[str, ...] = ("BTC",), at: float = 1.0) -> StoredNode:
    """Return a node with an id made of its name."""
    return StoredNode(
        node_id=name * 8,
        node_type="sma",
        code_hash=f"code-{name}",
        config_hash=f"config-{name}",
        schema_hash=f"schema-{name}",
        schema={"value": "float"},
        interval=60,
        period=3,
        inputs=inputs,
        tags=tags,
        owner="alice",
        created_at=at,
    )


def parts(of: StoredNode) -> Parts:
    """Return the identity of a node."""
    return Parts(of.node_type, of.code_hash, of.config_hash, of.schema_hash)


def wanted(of: StoredNode) -> Wanted:
    """Return a question about a node."""
    return Wanted(of.node_id, "", of.code_hash, of.config_hash, (queue(of).topic,))


def queue(of: StoredNode, *, topic: str | None = None, by: str = "s-1", at: float = 1.0) -> StoredQueue:
    """Return the queue of a node."""
    return StoredQueue(
        topic=topic or f"btc_sma_{of.node_id[:6]}_v1",
        node_id=of.node_id,
        domain="",
        quality="indicator",
        interval=of.interval,
        tags=of.tags,
        state=PENDING,
        producer=None,
        created_by=by,
        created_at=at,
    )


def change(strategy: str, *nodes: StoredNode, sentinel: str | None = None, at: float = 1.0) -> Change:
    """Return what a strategy of some nodes adds: each with its queue, all used and produced."""
    queues = tuple(queue(one, by=strategy) for one in nodes)
    topics = tuple(one.topic for one in queues)
    return Change(
        strategy_id=strategy,
        nodes=nodes,
        queues=queues,
        emissions=tuple(Emission(one.node_id, "", topic) for one, topic in zip(nodes, topics, strict=True)),
        uses=topics,
        produces=topics,
        sentinel=Sentinel(sentinel, commit_hash="c0ffee", release_tag="r1") if sentinel else None,
        sentinel_nodes=tuple(one.node_id for one in nodes) if sentinel else (),
        at=at,
    )


def reuse(strategy: str, *nodes: StoredNode) -> Change:
    """Return what a strategy of nodes that are there already adds: that it uses them."""
    made = change(strategy, *nodes)
    return replace(made, nodes=(), queues=(), emissions=())


def submission(name: str, *, key: str | None = None, owner: str = "alice", at: float = 1000.0) -> Submission:
    """Return a submission with an id and a key made of its name."""
    return Submission(
        strategy_id=f"s-{name}",
        key=key or f"key-{name}",
        owner=owner,
        run_type="dry-run",
        dag=b'{"version": "qmtl.dag/1"}' + name.encode(),
        dag_hash=f"hash-{name}",
        meta={"name": name, "text": "ключ \x00 \U0001f680"},
        at=at,
    )


def step(of: Stored, target: str, *, fence: int = 1, cause: str = "pick") -> Transition:
    """Return a transition from where a strategy is."""
    made = Transition(of.strategy_id, of.state, target, cause, fence, of.updated_at + 1.0)
    return replace(made, frees_key=target in {"draining", "stopped"})
