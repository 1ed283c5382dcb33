"""The plan of a graph: order, lookbacks, warm-up and sizes. Pure data, no memory, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from qmtl.errors import BuildError, OperatorError
from qmtl.graph.dag import Dag
from qmtl.graph.expression import Edge
from qmtl.graph.node import Node, StreamInput
from qmtl.graph.operator_node import OperatorNode
from qmtl.interval import format_interval


@dataclass(frozen=True)
class PlanNode:
    """One node of a plan.

    Attributes
    ----------
    node : Node
        The definition.
    inputs : tuple[Edge, ...]
        Its resolved inputs.
    symbols : tuple[str, ...] | None
        Names along S of its values ``float64[T, S]``; None where S is 1 and has no name.
    fields : tuple[str, ...] | None
        Output fields; None where a user's function decides them.
    lookback : int
        Joined bars that one output depends on.
    warmup_s : int
        Seconds of unbroken bars from an aligned start until the end of the first output's bucket.
    given : bool
        Whether its records are read instead of computed.
    """

    node: Node
    inputs: tuple[Edge, ...]
    symbols: tuple[str, ...] | None
    fields: tuple[str, ...] | None
    lookback: int
    warmup_s: int
    given: bool = False

    @property
    def width(self) -> int:
        """Symbols S of its values."""
        return 1 if self.symbols is None else len(self.symbols)

    @property
    def is_compiled(self) -> bool:
        """Whether a kernel computes it, rather than a user's Python function."""
        return isinstance(self.node, OperatorNode) and not self.given

    @property
    def is_source(self) -> bool:
        """Whether its records come from outside of the plan: a stream, or a node that somebody else computes."""
        return self.given or isinstance(self.node, StreamInput)


@dataclass(frozen=True)
class Plan:
    """What to compute, in order.

    Attributes
    ----------
    dag : Dag
        The graph.
    nodes : Mapping[str, PlanNode]
        By id, every input before its readers.
    keep : frozenset[str]
        Ids whose outputs are wanted.
    """

    dag: Dag
    nodes: Mapping[str, PlanNode]
    keep: frozenset[str]

    @classmethod
    def of(
        cls, dag: Dag, fields: Mapping[str, tuple[str, ...]] | None = None, keep: Iterable[str] | None = None
    ) -> Plan:
        """Plan a graph.

        Parameters
        ----------
        dag : Dag
            The graph.
        fields : mapping of stream id to field names, optional
            Columns of the data; without it, the fields that operators read.
        keep : iterable of str, optional
            Ids whose outputs are wanted; all by default.

        Raises
        ------
        OperatorError
            Inputs of different numbers of symbols meet in one node.
        UnknownNameError
            A field that the data do not have.
        """
        nodes: dict[str, PlanNode] = {}
        columns = _fields_read(dag) if fields is None else fields
        for node in dag.nodes:
            nodes[node.node_id] = _plan_node(node, dag.inputs[node.node_id], nodes, columns)
        return cls(dag, nodes, frozenset(nodes if keep is None else keep))

    def part(self, local: Collection[str], fields: Mapping[str, tuple[str, ...]] | None = None) -> Plan:
        """Return the plan that computes only some nodes, from what the others emitted; outputs are equal to the bit.

        Parameters
        ----------
        local : collection of str
            Ids to compute; their outputs are kept. What they read and is not among them is *given*.
        fields : mapping of id to field names, optional
            Of given nodes whose fields only their records tell.
        """
        read = {e.node.node_id for k in local for e in self.nodes[k].inputs if e.node is not None}
        nodes: dict[str, PlanNode] = {}
        columns = {k: known for k, p in self.nodes.items() if (known := (fields or {}).get(k) or p.fields) is not None}
        for identifier, plan in self.nodes.items():
            if identifier in local and plan.inputs:
                nodes[identifier] = replace(_plan_node(plan.node, plan.inputs, nodes, columns), symbols=plan.symbols)
            elif identifier in read:
                known = columns.get(identifier, ())
                nodes[identifier] = PlanNode(plan.node, (), plan.symbols, known, 1, plan.node.interval, given=True)
        return Plan(self.dag, nodes, frozenset(k for k in local if k in nodes))

    def warmup(self, identifier: str) -> int:
        """Bars of the base streams needed before the first output of a node."""
        base = self.base_interval(identifier)
        return -(-self.nodes[identifier].warmup_s // base)

    @property
    def rows_of_event(self) -> int:
        """How many rows of a node one event may complete: one, or what several sources and intervals may have open."""
        nodes = self.nodes.values()
        return sum(one.is_source for one in nodes) + len({one.node.interval for one in nodes}) - 1

    def base_interval(self, identifier: str) -> int:
        """Interval of the shortest stream upstream of a node, seconds."""
        return self._base_intervals[identifier]

    @cached_property
    def _base_intervals(self) -> dict[str, int]:
        """Of all nodes: whoever tells how far each one is asks again and again."""
        found: dict[str, int] = {}
        for identifier, plan in self.nodes.items():
            above = (found[edge.node.node_id] for edge in plan.inputs if edge.node is not None)
            found[identifier] = min([plan.node.interval, *above])
        return found

    def streams(self, identifier: str) -> tuple[str, ...]:
        """Return the ids of the streams upstream of a node, or itself."""
        found, stack, seen = [], [identifier], {identifier}
        while stack:
            at = stack.pop()
            if isinstance(self.nodes[at].node, StreamInput):
                found.append(at)
            for edge in self.nodes[at].inputs:
                if edge.node is not None and edge.node.node_id not in seen:
                    seen.add(edge.node.node_id)
                    stack.append(edge.node.node_id)
        return tuple(found)

    def history(self, stream: str) -> int:
        """Bars of a stream to load before the start, so that every node can be warm at the start."""
        intervals = {plan.node.interval for plan in self.nodes.values()}
        interval = self.nodes[stream].node.interval
        seconds = max(plan.warmup_s for plan in self.nodes.values()) + max(intervals)
        return -(-seconds // interval)

    def table(self) -> str:
        """Return the plan as a text table: order, name, id, interval, lookback, warm-up."""
        labels = self.dag.labels()
        rows = [("#", "node", "id", "every", "lookback", "warm-up", "symbols", "by")]
        for order, (identifier, plan) in enumerate(self.nodes.items()):
            rows.append(
                (
                    str(order),
                    labels[identifier],
                    identifier[:10],
                    format_interval(plan.node.interval),
                    str(plan.lookback),
                    str(self.warmup(identifier)),
                    str(plan.width),
                    "data" if plan.is_source else "kernel" if plan.is_compiled else "python",
                )
            )
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def _fields_read(dag: Dag) -> dict[str, tuple[str, ...]]:
    read: dict[str, dict[str, None]] = {stream.node_id: {} for stream in dag.streams}
    for edges in dag.inputs.values():
        for edge in edges:
            if edge.node is not None and edge.node.node_id in read and edge.field is not None:
                read[edge.node.node_id][edge.field] = None
    return {identifier: tuple(names) or ("close",) for identifier, names in read.items()}


def _plan_node(
    node: Node, inputs: tuple[Edge, ...], nodes: Mapping[str, PlanNode], columns: Mapping[str, tuple[str, ...]]
) -> PlanNode:
    if isinstance(node, StreamInput):
        return PlanNode(node, (), node.symbols, columns[node.node_id], 1, node.interval)
    upstream = [nodes[edge.node.node_id] for edge in inputs if edge.node is not None]
    for edge, source in zip((e for e in inputs if e.node is not None), upstream, strict=True):
        _check_field(edge, source)
    symbols = _common_symbols(node, upstream)
    if isinstance(node, OperatorNode):
        lookback = node.operator.lookback(node.params)
        bars = 1 if node.operator.kind == "resample" else lookback
        ready = max(_visible(source.warmup_s, node.interval) for source in upstream)
        return PlanNode(node, inputs, symbols, node.outputs, lookback, ready + (bars - 1) * node.interval)
    windows = [(edge.period, nodes[edge.node.node_id]) for edge in inputs if edge.node is not None]
    ready = max(
        (_visible(source.warmup_s + (period - 1) * source.node.interval, node.interval) for period, source in windows),
        default=0,
    )
    return PlanNode(node, inputs, symbols, node.outputs, max((p for p, _ in windows), default=1), ready)


def _visible(seconds: int, interval: int) -> int:
    """Round the moment at which an input is ready up to the end of one of the reader's buckets."""
    return -(-seconds // interval) * interval


def _check_field(edge: Edge, source: PlanNode) -> None:
    from qmtl.errors import unknown_name

    if edge.field is not None and source.fields is not None and edge.field not in source.fields:
        raise unknown_name(f"field of {source.node.name or source.node.node_type}", edge.field, source.fields)


def _common_symbols(node: Node, upstream: list[PlanNode]) -> tuple[str, ...] | None:
    """Return the universe of a node: a stream of one symbol goes with every universe."""
    label = node.name or node.node_type
    if not upstream:
        raise BuildError(
            f"node {label!r} has no input that exists", hint="no node carries the tags and interval it asks for"
        )
    universes = list(dict.fromkeys(source.symbols for source in upstream if source.symbols is not None))
    if len(universes) > 1:
        first, second = (", ".join(symbols[:3]) + (" …" if len(symbols) > 3 else "") for symbols in universes[:2])
        raise OperatorError(
            f"node {label!r} mixes the universes ({first}) and ({second})", hint="give its inputs the same symbols"
        )
    return universes[0] if universes else None
