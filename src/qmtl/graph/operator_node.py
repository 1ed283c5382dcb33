"""Nodes that apply an operator to their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from qmtl.errors import IntervalError, OperatorError
from qmtl.graph import identity
from qmtl.graph.expression import Edge
from qmtl.graph.node import Node
from qmtl.graph.operator import Operator
from qmtl.graph.wiring import as_edge, common_interval, interval_of
from qmtl.interval import format_interval


class OperatorNode(Node):
    """A node made by calling an operator; built by syntax, not by hand."""

    def __init__(
        self,
        operator: Operator,
        sources: Sequence[Any],
        params: Mapping[str, Any],
        *,
        name: str | None,
        tags: Iterable[str] | None,
        interval: int | str | None,
    ) -> None:
        self._define(name, tags)
        self.operator = operator
        self.params = dict(params)
        edges = tuple(as_edge(source, operator.name) for source in sources)
        nodes = [edge.node for edge in edges if edge.node is not None]
        if not nodes:
            raise OperatorError(f"{operator.name} has only constants as inputs", hint="give it at least one node")
        lookback = operator.lookback(params)
        self.inputs = tuple(
            edge if edge.node is None else Edge(edge.node, edge.field, period=lookback) for edge in edges
        )
        longest = interval_of(interval, name or operator.name) if interval is not None else None
        if operator.kind == "resample":
            self.interval = _longer_interval(operator, nodes[0], longest)
        else:
            self.interval = common_interval(nodes, longest, name or operator.name)

    @property
    def node_type(self) -> str:  # type: ignore[override]
        """Name of the operator."""
        return self.operator.name

    @property
    def outputs(self) -> tuple[str, ...]:
        """Output field names."""
        return self.operator.outputs

    def code(self) -> str:
        """Digest of name and version, or of the steps of a user's own operator."""
        if self.operator.is_library:
            return identity.digest(f"{self.operator.name}@{self.operator.version}")
        return identity.digest(*(f.digest for f in self.fingerprint))

    @cached_property
    def fingerprint(self) -> Any:
        """Contents of the step functions of a user's own operator."""
        from qmtl.graph.fingerprint import fingerprint

        steps = (self.operator.step, self.operator.lift, self.operator.merge)
        return tuple(fingerprint(step) for step in steps if step is not None)

    def configuration(self) -> dict[str, Any]:
        """Return parameters, interval and inputs."""
        operator = self.operator
        return {
            "interval": self.interval,
            "kind": operator.kind,
            "params": self.params,
            "window": operator.window(self.params),
            "state": operator.state,
            "inputs": [edge.canonical() for edge in self.inputs],
        }

    def output_schema(self) -> Mapping[str, str] | None:
        """Return field names and types."""
        return dict.fromkeys(self.outputs, "float64")


def _longer_interval(operator: Operator, source: Node, given: int | None) -> int:
    if given is None or given <= source.interval or given % source.interval:
        raise IntervalError(
            f"{operator.name}: cannot build bars of {given and format_interval(given)} "
            f"from {format_interval(source.interval)}",
            hint="the longer interval must be a multiple of the shorter one",
        )
    return given
