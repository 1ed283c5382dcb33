"""A graph as static single assignments, and the proof that its ids follow from them (rule QM001).

An id is made from live objects. The lowered form has none: each line assigns one node from constants and earlier
lines. When the ids derived from the lines are the ids of the nodes, nothing but what is written down counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmtl.errors import LoweringError
from qmtl.graph import identity
from qmtl.graph.dag import Dag
from qmtl.graph.node import Node


@dataclass(frozen=True)
class Assignment:
    """One line: ``%target = node_type(operands)``.

    Attributes
    ----------
    node_type, code_hash : str
        What is computed.
    config : dict
        Configuration; an input names its line instead of an id.
    operands : tuple[int, ...]
        Earlier lines, in the order of the inputs.
    schema : dict or None
        Field names and types.
    """

    node_type: str
    code_hash: str
    config: dict[str, Any]
    operands: tuple[int, ...]
    schema: Mapping[str, str] | None


def lower(dag: Dag) -> list[Assignment]:
    """Return a graph as assignments, inputs first.

    Examples
    --------
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import StreamInput
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> [(line.node_type, line.operands) for line in lower(Dag.of([sma(price.close, 2)]))]
    [('StreamInput', ()), ('sma', (0,))]
    """
    lines: dict[str, int] = {}
    made: list[Assignment] = []
    for node in _with_queries(dag):
        if node.node_id not in lines:
            made.append(_assignment(node, lines))
            lines[node.node_id] = len(made) - 1
    return made


def _with_queries(dag: Dag) -> list[Node]:
    """Return the nodes of a graph, and before its readers each tag query that stands for other nodes."""
    ordered: list[Node] = []
    for node in dag.nodes:
        ordered += [e.node for e in node.inputs if e.node is not None and e.node.node_id not in dag.inputs]
        ordered.append(node)
    return ordered


def _assignment(node: Node, lines: dict[str, int]) -> Assignment:
    config = node.configuration()
    inputs = [dict(entry) for entry in config.get("inputs", ())]
    operands = []
    for entry in inputs:
        if "node" in entry:
            operands.append(lines[entry["node"]])
            entry["node"] = operands[-1]
    schema = node.output_schema()
    lowered = config | ({"inputs": inputs} if "inputs" in config else {})
    return Assignment(node.node_type, node.code(), lowered, tuple(operands), schema)


def derive(lines: Sequence[Assignment]) -> list[str]:
    """Return the id of each line, from the lines alone."""
    ids: list[str] = []
    for line in lines:
        config = dict(line.config)
        if "inputs" in config:
            config["inputs"] = [e | ({"node": ids[e["node"]]} if "node" in e else {}) for e in config["inputs"]]
        ids.append(identity.node_id(identity.Parts.of(line.node_type, line.code_hash, config, line.schema)))
    return ids


def check_lowering(dag: Dag) -> None:
    """Check that the ids of a graph follow from its lowered form.

    Raises
    ------
    LoweringError
        A node was changed after it had its id; names the node.
    """
    derived = set(derive(lower(dag)))
    labels = dag.labels()
    for node in dag.nodes:
        if node.node_id not in derived:
            raise LoweringError(
                f"QM001: the id of node {labels[node.node_id]!r} does not follow from what it computes",
                hint="a node was changed after it was made: make a new one instead",
            )
