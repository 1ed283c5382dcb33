"""DAG documents made without the SDK: valid, and as many different ones as a test wants."""

from __future__ import annotations

import hashlib
from typing import Any

from qmtl.graph.identity import Parts, crc32, node_id


def entry(name: str, inputs: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """A node whose identity follows from its name and its inputs."""
    inputs = inputs or []
    reads = [one["node_id"] for one in inputs]
    hashes = [hashlib.sha256(f"{part}/{name}/{reads}".encode()).hexdigest() for part in ("code", "config", "schema")]
    parts = Parts("StreamInput" if not inputs else "sma", *hashes)
    identifier = node_id(parts)
    made = {
        "node_id": identifier,
        "crc32": crc32(identifier),
        "node_type": parts.node_type,
        "code_hash": parts.code_hash,
        "config_hash": parts.config_hash,
        "schema_hash": parts.schema_hash,
        "name": name,
        "interval": 60,
        "period": 1,
        "inputs": [{"node_id": one, "key": None, "field": "close"} for one in reads],
        "tags": ["BTC", "price"] if not inputs else [],
        "schema": {"value": "float"},
        "pure": True,
    }
    return made | more


def chain(*names: str, root: str = "price") -> dict[str, Any]:
    """A stream and nodes that read each other in a row: equal beginnings are shared."""
    nodes = [entry(root)]
    for name in names:
        nodes.append(entry(name, [nodes[-1]]))
    return {"version": "qmtl.dag/1", "nodes": nodes}


def fan(count: int, root: str = "price") -> dict[str, Any]:
    """A stream and ``count - 1`` nodes that read it."""
    stream = entry(root)
    return {"version": "qmtl.dag/1", "nodes": [stream, *(entry(f"leaf {k}", [stream]) for k in range(count - 1))]}
