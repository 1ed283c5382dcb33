"""Why two nodes are, or are not, the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from qmtl.graph.canonical import canonical
from qmtl.graph.expression import Edge
from qmtl.graph.fingerprint import Fingerprint, explain
from qmtl.graph.node import Node

_MISSING = object()


def difference(a: Node, b: Node) -> list[str]:
    """Return one line for each thing in which two nodes differ; none if they are the same.

    Examples
    --------
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import StreamInput
    >>> btc, eth = (StreamInput(tags=[tag], interval="1m") for tag in ("BTC", "ETH"))
    >>> difference(sma(btc.close, 20), sma(btc.close, 30))
    ['params.period: 20 → 30']
    >>> difference(sma(btc.close, 20), sma(eth.close, 20))
    ['input 0 ← other StreamInput (tags: ["BTC"] → ["ETH"])']
    """
    if a.node_id == b.node_id:
        return []
    if a.node_type != b.node_type:
        return [f"node type: {a.node_type} → {b.node_type}"]
    of_function = "params" not in a.configuration()  # the period of an operator is one of its parameters
    lines = [*_code(a, b), *_values(_own(a), _own(b)), *_inputs(a.inputs, b.inputs, of_function=of_function)]
    if a.output_schema() != b.output_schema():
        lines.append(f"schema: {_text(a.output_schema())} → {_text(b.output_schema())}")
    return lines or ["a detail differs that has no name"]


def _code(a: Node, b: Node) -> list[str]:
    if a.code() == b.code():
        return []
    pairs = zip(_fingerprints(a), _fingerprints(b), strict=False)
    return [line for one, other in pairs for line in explain(one, other)] or ["code: another version"]


def _fingerprints(node: Node) -> tuple[Fingerprint, ...]:
    found = node.fingerprint
    return found if isinstance(found, tuple) else (found,)


def _own(node: Node) -> dict[str, Any]:
    # The window follows from the parameters: it counts for the id, and would be said twice here.
    return {key: value for key, value in node.configuration().items() if key not in ("inputs", "private", "window")}


def _values(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key in dict.fromkeys([*a, *b]):
        old, new = a.get(key, _MISSING), b.get(key, _MISSING)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _values(old, new, f"{prefix}{key}.")
        elif _text(old) != _text(new):
            yield f"{prefix}{key}: {_text(old)} → {_text(new)}"


def _text(value: Any) -> str:
    return "(nothing)" if value is _MISSING else canonical(value)


def _inputs(a: Iterable[Edge], b: Iterable[Edge], *, of_function: bool) -> Iterable[str]:
    for index, (old, new) in enumerate(zip_longest(a, b)):
        if old is None or new is None:
            yield f"input {index} {'added' if old is None else 'removed'}: {_edge(old or new)}"
            continue
        place = f"input {new.key or index}"
        if old.node is None or new.node is None:
            if old.canonical() != new.canonical():
                yield f"{place}: {_edge(old)} → {_edge(new)}"
            continue
        if old.node.node_id != new.node.node_id:
            why = "; ".join(difference(old.node, new.node))
            yield f"{place} ← other {new.node.node_type} ({why})"
        for what in ("field", "key", "period"):
            if getattr(old, what) != getattr(new, what) and (what != "period" or of_function):
                yield f"{place} {what}: {getattr(old, what)} → {getattr(new, what)}"


def _edge(edge: Edge | None) -> str:
    assert edge is not None  # one of the two is there
    if edge.node is None:
        return f"constant {edge.constant:g}"
    return edge.node.label + (f".{edge.field}" if edge.field else "")
