"""The DAG document ``qmtl.dag/1``: what travels instead of code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmtl.errors import DocumentError
from qmtl.graph.dag import Dag
from qmtl.graph.identity import Parts, crc32, node_id
from qmtl.graph.lowering import check_lowering
from qmtl.graph.node import Node, TagQueryNode

VERSION = "qmtl.dag/1"


def document(dag: Dag) -> dict[str, Any]:
    """Return a graph as plain JSON data, inputs before readers.

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
    return {"version": VERSION, "nodes": [_node(dag, node, labels[node.node_id]) for node in dag.nodes]}


def _node(dag: Dag, node: Node, label: str) -> dict[str, Any]:
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
        "period": node.period,
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


def verify(document: Mapping[str, Any]) -> None:
    """Check a document from outside: version, ids, checksums, order of the nodes.

    Raises
    ------
    DocumentError
        With a JSON pointer to the fault.
    """
    if document.get("version") != VERSION:
        raise DocumentError(
            f"unknown version {document.get('version')!r}", pointer="/version", hint=f"this program reads {VERSION}"
        )
    nodes = document.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise DocumentError("there are no nodes", pointer="/nodes")
    seen: set[str] = set()
    for index, entry in enumerate(nodes):
        _verify_node(entry, f"/nodes/{index}", seen)


def _verify_node(entry: Any, pointer: str, seen: set[str]) -> None:
    wanted = ("node_id", "crc32", "node_type", "code_hash", "config_hash", "schema_hash", "inputs")
    missing = [key for key in wanted if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise DocumentError(f"{', '.join(missing)} missing", pointer=pointer)
    parts = Parts(*(str(entry[key]) for key in ("node_type", "code_hash", "config_hash", "schema_hash")))
    identifier = entry["node_id"]
    if identifier != node_id(parts):
        raise DocumentError(
            "the id is not the digest of the four parts",
            pointer=f"{pointer}/node_id",
            hint="submit with the SDK of this version",
        )
    if entry["crc32"] != crc32(identifier):
        raise DocumentError("the checksum does not match the id", pointer=f"{pointer}/crc32")
    if identifier in seen:
        raise DocumentError("the node is there twice", pointer=pointer)
    for k, edge in enumerate(entry["inputs"]):
        if not isinstance(edge, dict) or edge.get("node_id") not in seen:
            raise DocumentError(
                "the input is unknown, or comes after its reader",
                pointer=f"{pointer}/inputs/{k}",
                hint="list nodes in topological order",
            )
    seen.add(identifier)
