"""In which order the compiled nodes of a plan run, and until when their columns are read. Pure."""

from __future__ import annotations

from typing import Any

from qmtl.engine.plan import Plan
from qmtl.graph.operator_node import OperatorNode


def grouped(plan: Plan) -> list[str]:
    """Return the order of the plan with nodes of one operator and depth next to each other.

    What is before a user's function, or behind it, stays there.
    """
    keys: dict[str, tuple[Any, ...]] = {}
    depths: dict[str, int] = {}
    stretch = 0
    for identifier, planned in plan.nodes.items():
        above = (depths[edge.node.node_id] for edge in planned.inputs if edge.node is not None)
        depth = depths[identifier] = 1 + max(above, default=0)
        is_python = not (planned.is_compiled or planned.is_source)
        kind = planned.node.operator.name if isinstance(planned.node, OperatorNode) else ""
        keys[identifier] = (stretch, is_python, depth, kind, planned.node.interval, planned.width)
        stretch += is_python
    return sorted(plan.nodes, key=keys.__getitem__)


def last_reads(plan: Plan, order: list[str]) -> dict[str, list[str]]:
    """Return for each compiled node the operators whose columns nobody reads after it, in this order.

    What is kept, or shown to a user's function, is read after the chunk and stays.
    """
    stay, last = set(plan.keep), {}
    for identifier in order:
        reader = plan.nodes[identifier]
        for edge in reader.inputs:
            if edge.node is None:
                continue
            if reader.is_compiled:
                last[edge.node.node_id] = identifier
            else:
                stay.add(edge.node.node_id)
    dying: dict[str, list[str]] = {}
    for identifier, reader_id in last.items():
        if plan.nodes[identifier].is_compiled and identifier not in stay:
            dying.setdefault(reader_id, []).append(identifier)
    return dying
