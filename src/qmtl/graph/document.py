"""The DAG document ``qmtl.dag/1``: what travels instead of code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmtl.graph.dag import Dag
from qmtl.graph.identity import crc32
from qmtl.graph.lowering import check_lowering
from qmtl.graph.node import Node, TagQueryNode

VERSION = "qmtl.dag/1"


def document(dag: Dag, keep: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return a graph as plain JSON data, inputs before readers.

    ``keep`` has bars that the queue of a stream, by id, has to hold, where that is more than its own period.

    Examples
    --------
    >>> from qmtl.graph.dag import Dag
    >>> from qmtl.sdk import StreamInput
    >>> made = document(Dag.of([StreamInput(tags=["BTC"], interval="1m", name="price")]))
    >>> made["version"], made["nodes"][0]["name"]
    ('qmtl.dag/1', 'price')
    """
    check_lowering(dag)
    labels = dag.labels()
    nodes = [_node(dag, node, labels[node.node_id], (keep or {}).get(node.node_id, 0)) for node in dag.nodes]
    return {"version": VERSION, "nodes": nodes}


def _node(dag: Dag, node: Node, label: str, keep: int) -> dict[str, Any]:
    parts = node.parts
    entry: dict[str, Any] = {
        "node_id": node.node_id,
        "crc32": crc32(node.node_id),
        "node_type": parts.node_type,
        "code_hash": parts.code_hash,
        "config_hash": parts.config_hash,
        "schema_hash": parts.schema_hash,
        "name": label,
        "interval": node.interval,
        "period": max(node.period, keep),
        "inputs": [
            {"node_id": e.node.node_id, **({"key": e.key} if e.key else {}), **({"field": e.field} if e.field else {})}
            for e in dag.inputs[node.node_id]
            if e.node is not None
        ],
        "tags": list(node.tags),
        "schema": node.output_schema(),
        "pure": not getattr(node, "impure", False),
    }
    if isinstance(node, TagQueryNode):
        entry |= {"query_tags": list(node.query_tags), "match_mode": node.match_mode}
    return entry
