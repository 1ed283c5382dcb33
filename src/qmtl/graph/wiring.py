"""From what an author passes to a node to checked edges, periods and intervals."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qmtl.errors import BuildError, IntervalError, OperatorError, SignatureError, WindowError, unknown_name
from qmtl.graph.expression import Arithmetic, Edge, Field, is_node
from qmtl.interval import format_interval, parse_interval

if TYPE_CHECKING:
    from qmtl.graph.node import Node


def as_edge(value: Any, owner: str) -> Edge:
    """Turn an operator argument (field, node with one output, number) into an edge."""
    if isinstance(value, Field):
        return Edge(value.node, value.name)
    if is_node(value):
        return Edge(value, value.single_field(owner))
    if isinstance(value, (bool, int, float)) or (type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0):
        return Edge(None, constant=float(value))
    raise OperatorError(
        f"{owner}: {value!r} is not an input",
        hint="pass a node, a field such as price.close, or a number",
    )


def check_period(period: Any, label: str) -> int:
    """Return a period of at least one bar, or say which node has a bad one."""
    if isinstance(period, bool) or not isinstance(period, int) or period <= 0:
        raise WindowError(f"period of {label!r} is {period!r}", hint="use a whole number of bars, at least 1")
    return period


def interval_of(given: int | str, label: str) -> int:
    """Return the seconds of an interval, or say which node has a bad one."""
    try:
        return parse_interval(given)
    except IntervalError as error:
        raise IntervalError(f"node {label!r}: {error.message}", hint=error.hint) from None


def common_interval(nodes: Sequence[Node], given: int | str | None, label: str) -> int:
    """Return the given interval, or the one that all inputs have."""
    if given is not None:
        return interval_of(given, label)
    intervals = sorted({node.interval for node in nodes})
    if len(intervals) != 1:
        names = ", ".join(format_interval(i) for i in intervals)
        raise IntervalError(
            f"the inputs of {label!r} have different intervals ({names}) and it gives none",
            hint=f'say how often it runs: interval="{format_interval(intervals[0])}"',
        )
    return intervals[0]


def check_one_argument(compute_fn: Any, label: str) -> None:
    """Refuse a compute function that does not take exactly one argument, the view."""
    if not callable(compute_fn):
        raise SignatureError(
            f"compute_fn of node {label!r} is {compute_fn!r}, not a function", hint="pass a function of the view"
        )
    try:
        signature = inspect.signature(compute_fn)
    except ValueError:  # some functions written in C have none
        return
    try:
        signature.bind(None)
    except TypeError:
        raise SignatureError(
            f"compute_fn of node {label!r} is {label}{signature}: it must take exactly one argument, the view",
            hint="def signal(view): …; other values belong into closure variables, defaults or config=",
        ) from None


def upstream_edges(given: Any, label: str) -> list[Edge]:
    """Normalise ``input=`` to edges; fields stand for their nodes."""
    if isinstance(given, Mapping):
        pairs: list[tuple[str | None, Any]] = [(str(key), value) for key, value in given.items()]
    elif isinstance(given, Arithmetic):
        pairs = [(None, given)]
    elif isinstance(given, Iterable) and not isinstance(given, str):
        pairs = [(None, value) for value in given]
    else:
        pairs = [(None, given)]
    edges = []
    for key, value in pairs:
        node = value.node if isinstance(value, Field) else value
        if not is_node(node):
            raise BuildError(
                f"input of node {label!r} is {value!r}, not a node",
                hint="pass a node, a list of nodes or a mapping of key to node",
            )
        edges.append(Edge(node, key=key))
    if not edges:
        raise BuildError(f"node {label!r} has no input", hint="only a StreamInput has none")
    if len({id(edge.node) for edge in edges}) != len(edges):
        raise BuildError(f"node {label!r} has the same input twice", hint="name it once")
    return edges


def with_periods(edges: list[Edge], period: Any, label: str) -> tuple[Edge, ...]:
    """Return the edges with their windows: one period for all, one for each, or that of the input."""
    if not isinstance(period, Mapping):
        common = max(e.node.period for e in edges if e.node is not None) if period is None else period
        return tuple(Edge(e.node, key=e.key, period=check_period(common, label)) for e in edges)
    wanted = {(id(k.node) if isinstance(k, Field) else id(k) if is_node(k) else k): v for k, v in period.items()}
    sized = []
    for edge in edges:
        assert edge.node is not None  # compute nodes have no constant inputs
        names: tuple[Any, ...] = (id(edge.node), edge.key, edge.node.name)
        chosen = next((wanted.pop(n) for n in names if n is not None and n in wanted), edge.node.period)
        sized.append(Edge(edge.node, key=edge.key, period=check_period(chosen, label)))
    if wanted:
        raise unknown_name(
            f"input in period= of {label}", str(next(iter(wanted))), [e.key or e.node.label for e in edges if e.node]
        )
    return tuple(sized)
