"""From a plan to two flat arrays and a list of kernels.

Everything that the compiled half of an engine knows is in ``i`` (int64) and ``f`` (float64):

``i``: watermark · lane and source headers and kernel counters (the *state*) · settings of the
kernels · calls · masks and buckets.  ``f``: states of operators (the *state*) · parameters ·
scratch · columns. The state comes first and does not depend on the capacity of a chunk, so a
snapshot is two slices, and fits the batch and the stream driver alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qmtl.engine import builtin
from qmtl.engine.codegen import load_kernel
from qmtl.engine.order import grouped, last_reads
from qmtl.engine.plan import Plan, PlanNode
from qmtl.graph.expression import Edge
from qmtl.graph.operator_node import OperatorNode

_HEADER = 4


@dataclass
class Column:
    """Where the values ``float64[capacity, S]`` of one field are in ``f``, and their mask in ``i``."""

    at: int
    mask: int
    width: int


@dataclass
class Source:
    """Where a stream's bars are put before a chunk runs: header in ``i``, staging columns in ``f``."""

    header: int
    staging: int
    width: int
    fields: tuple[str, ...]


@dataclass
class Call:
    """A run of compiled kernels ``i[start:stop]``, or one node whose function is Python."""

    start: int = 0
    stop: int = 0
    python: str | None = None


@dataclass
class Kernel:
    """A kernel that will be called, by its address, with the settings of what it does."""

    address: int
    block: list[int]


@dataclass(frozen=True)
class Shelf:
    """Where the outputs of kept nodes of one shape lie, side by side: so whoever reads all of them reads one array.

    Attributes
    ----------
    interval, width : int
        Seconds of a bucket, and symbols S.
    fields, nodes : tuple of str
        Names of the values, and ids in the order of the plan.
    at, masks : int
        Where the columns ``float64[nodes, fields, capacity, S]`` begin in ``f``, and their masks in ``i``.
    """

    interval: int
    width: int
    fields: tuple[str, ...]
    nodes: tuple[str, ...]
    at: int
    masks: int


@dataclass
class _Arena:
    """Hands out places in an array that is made when its size is known."""

    size: int = 0
    values: dict[int, Any] = field(default_factory=dict)

    def take(self, count: int, fill: Any = None) -> int:
        at = self.size
        self.size += count
        if fill is not None:
            self.values[at] = fill
        return at


class Program:
    """The memory and the calls of one engine.

    Parameters
    ----------
    plan : Plan
        What to compute.
    capacity : int
        Rows of a chunk; at least 2, because a gap may complete two buckets at once, where one source does not decide
        alone what the rows are.
    by_operator : bool
        Run nodes of one operator together where chunks are mostly short; else in the order of the plan, where the
        columns of long chunks are read again while they are in the processor's cache.
    """

    def __init__(self, plan: Plan, capacity: int, *, by_operator: bool = False) -> None:
        self.plan, self.capacity = plan, max(1 if plan.rows_of_event == 1 else 2, capacity)
        self._i, self._f = _Arena(1), _Arena()
        self.lanes: dict[int, int] = {}
        self.sources: dict[str, Source] = {}
        self.columns: dict[tuple[str, str], Column] = {}
        self.masks: dict[str, int] = {}
        self._states: dict[str, tuple[int, int]] = {}
        self._aligned: dict[tuple[str, str, int], Column] = {}
        self._align_states: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._ones: int | None = None
        self._constants: dict[str, int] = {}
        self._free: dict[tuple[str, int], list[int]] = {}
        self._order = grouped(plan) if by_operator else list(plan.nodes)
        self._dying = last_reads(plan, self._order)
        self._reserve_states()
        self.state_i, self.state_f = self._i.size, self._f.size
        self._places: dict[str, tuple[int, int]] = {}
        self.shelves: list[Shelf] = []
        self._reserve_shelves()
        self.calls = self._build()
        self.i = _filled(self._i, np.int64)
        self.f = _filled(self._f, np.float64)

    def run(self, call: Call) -> None:
        """Run a stretch of compiled kernels."""
        builtin.run(self.i, self.f, call.start, call.stop)

    def rows(self, interval: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Buckets of a lane in this chunk, int64[n]; a view."""
        lane = self.lanes[interval]
        at = int(self.i[lane + 1])
        return self.i[at : at + int(self.i[lane])]

    def mask(self, identifier: str, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Which rows of its lane a node has, 0 or 1, int64[count]; a view."""
        at = self.masks[identifier]
        return self.i[at : at + count]

    def values(self, identifier: str, name: str, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Values of one field in this chunk, float64[count, S]; a view."""
        column = self.columns[identifier, name]
        return self.f[column.at : column.at + count * column.width].reshape(count, column.width)

    def shelf(self, shelf: Shelf) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float64]]]:
        """Masks int64[nodes, capacity] and values float64[nodes, fields, capacity, S] of a shelf; views."""
        count, height = len(shelf.nodes), len(shelf.fields)
        masks = self.i[shelf.masks : shelf.masks + count * self.capacity].reshape(count, -1)
        size = count * height * self.capacity * shelf.width
        return masks, self.f[shelf.at : shelf.at + size].reshape(count, height, self.capacity, shelf.width)

    # --- layout -----------------------------------------------------------------------------

    def _reserve_states(self) -> None:
        """Lay out what survives a chunk, in the order of the plan and independent of the capacity."""
        for interval in sorted({p.node.interval for p in self.plan.nodes.values()}):
            self.lanes[interval] = self._i.take(_HEADER, [0, 0, interval, builtin.NONE])
        for identifier, plan in self.plan.nodes.items():
            if plan.is_source:
                lane = self.lanes[plan.node.interval]
                header = lane if self._is_alone(identifier) else self._i.take(3, [0, 0, plan.node.interval])
                self.sources[identifier] = Source(header, 0, plan.width, plan.fields or ())
            elif plan.is_compiled:
                self._states[identifier] = self._reserve_state(plan)
                for edge in self._foreign(plan):
                    self._reserve_alignment(edge, plan.node.interval)

    def _reserve_shelves(self) -> None:
        """Lay out the outputs of kept nodes side by side."""
        shapes: dict[tuple[int, int, tuple[str, ...]], list[str]] = {}
        for identifier, plan in self.plan.nodes.items():
            if plan.is_compiled and identifier in self.plan.keep:
                shapes.setdefault((plan.node.interval, plan.width, plan.fields or ()), []).append(identifier)
        for (interval, width, fields), nodes in shapes.items():
            size = len(fields) * self.capacity * width
            at, masks = self._f.take(len(nodes) * size), self._i.take(len(nodes) * self.capacity)
            self.shelves.append(Shelf(interval, width, fields, tuple(nodes), at, masks))
            for k, identifier in enumerate(nodes):
                self._places[identifier] = at + k * size, masks + k * self.capacity

    def _reserve_state(self, plan: PlanNode) -> tuple[int, int]:
        node = plan.node
        assert isinstance(node, OperatorNode)  # only operators have compiled state
        size = _window(node)
        wide, width = node.operator.state, len(node.inputs)
        floats, counters = {
            "pointwise": (0, []),
            "cross_section": (0, []),
            "window": (width * 2 * size, [0]),
            "fold": ((size + 1) * wide, [0, 0, builtin.NONE] + [0] * size),
            "recursive": (wide + size * width, [0, builtin.NONE]),
            "resample": (width * size, [0, 0, 0, 0]),
        }[node.operator.kind]
        return self._f.take(floats * plan.width), self._i.take(len(counters), counters or None)

    def _foreign(self, plan: PlanNode) -> list[Edge]:
        """Return the inputs of a compiled node that live on another lane."""
        node = plan.node
        if isinstance(node, OperatorNode) and node.operator.kind == "resample":
            return []
        return [e for e in plan.inputs if e.node is not None and e.node.interval != node.interval]

    def _reserve_alignment(self, edge: Edge, interval: int) -> None:
        assert edge.node is not None  # constants have no lane
        assert edge.field is not None
        key = (edge.node.node_id, edge.field, interval)
        if key not in self._align_states:
            width = self.plan.nodes[edge.node.node_id].width
            self._align_states[key] = (self._f.take(width), self._i.take(1, builtin.NONE))

    # --- program ----------------------------------------------------------------------------

    def _build(self) -> list[Call]:
        pending = self._lane_kernels()
        calls: list[Call] = []
        for identifier in self._order:
            plan = self.plan.nodes[identifier]
            if plan.is_source:
                pending += self._place(identifier, plan)
            elif plan.is_compiled:
                self._operator(identifier, plan, pending)
                self._release(identifier)
            else:
                calls += [*self._flush(pending), Call(python=identifier)]
                self._python_columns(identifier, plan)
        return calls + self._flush(pending)

    def _flush(self, pending: list[Kernel]) -> list[Call]:
        if not pending:
            return []
        flat = [n for kernel in pending for n in (kernel.address, self._i.take(len(kernel.block), kernel.block))]
        pending.clear()
        start = self._i.take(len(flat), flat)
        return [Call(start, start + len(flat))]

    def _is_alone(self, stream: str) -> bool:
        """Whether a stream alone decides the rows of its lane: then its bars need no placing."""
        interval = self.plan.nodes[stream].node.interval
        rivals = [k for k, p in self.plan.nodes.items() if p.is_source and p.node.interval == interval]
        return rivals == [stream] and not self._shorter(interval)

    def _shorter(self, interval: int) -> list[int]:
        """Shorter lanes that nodes of a lane read."""
        return sorted(
            {
                e.node.interval
                for p in self.plan.nodes.values()
                if p.node.interval == interval
                for e in p.inputs
                if e.node is not None and e.node.interval < interval
            }
        )

    def _lane_kernels(self) -> list[Kernel]:
        kernels = []
        for interval, lane in self.lanes.items():
            own = [s.header for k, s in self.sources.items() if self.plan.nodes[k].node.interval == interval]
            feeders = own + [self.lanes[j] for j in self._shorter(interval)]
            self._values_at(lane + 1, self._i.take(self.capacity))
            if feeders == [lane]:
                continue
            block = [lane, len(feeders), *feeders, *[0] * len(feeders)]
            kernels.append(Kernel(builtin.address(builtin.KERNELS["lane_rows"]), block))
        return kernels

    def _values_at(self, at: int, value: int) -> None:
        for start, fill in self._i.values.items():
            if isinstance(fill, list) and start <= at < start + len(fill):
                fill[at - start] = value
                return

    def _place(self, identifier: str, plan: PlanNode) -> list[Kernel]:
        source, stride = self.sources[identifier], self.capacity * plan.width
        source.staging = self._f.take(stride * len(source.fields))
        if self._is_alone(identifier):
            self._define(identifier, source.fields, source.staging, self._always(), plan.width)
            self._shelve(identifier, plan)
            return []
        self._values_at(source.header + 1, self._i.take(self.capacity))
        out, mask = self._f.take(stride * len(source.fields)), self._i.take(self.capacity)
        self._define(identifier, source.fields, out, mask, plan.width)
        self._shelve(identifier, plan)
        lane = self.lanes[plan.node.interval]
        block = [lane, source.header, mask, out, stride, 0, source.staging, plan.width, len(source.fields)]
        return [Kernel(builtin.address(builtin.KERNELS["place"]), block)]

    def _shelve(self, identifier: str, plan: PlanNode) -> None:
        """Make a shelf of a kept source alone, where it is."""
        if identifier in self.plan.keep and plan.fields:
            first = self.columns[identifier, plan.fields[0]]
            shelf = Shelf(plan.node.interval, plan.width, plan.fields, (identifier,), first.at, first.mask)
            self.shelves.append(shelf)

    def _define(self, identifier: str, fields: tuple[str, ...], out: int, mask: int, width: int) -> None:
        self.masks[identifier] = mask
        for order, name in enumerate(fields):
            self.columns[identifier, name] = Column(out + order * self.capacity * width, mask, width)

    def _python_columns(self, identifier: str, plan: PlanNode) -> None:
        """Reserve columns for the fields of a user's function that operators read."""
        read = {
            e.field
            for p in self.plan.nodes.values()
            if p.is_compiled
            for e in p.inputs
            if e.node is not None and e.node.node_id == identifier and e.field is not None
        }
        fields = tuple(sorted(read))
        out = self._f.take(self.capacity * plan.width * len(fields))
        self._define(identifier, fields, out, self._i.take(self.capacity), plan.width)

    def _operator(self, identifier: str, plan: PlanNode, pending: list[Kernel]) -> None:
        node = plan.node
        assert isinstance(node, OperatorNode)  # the caller looked
        inputs = [self._input(edge, node, pending) for edge in plan.inputs]
        height, stride = len(node.outputs), self.capacity * plan.width
        out, mask = self._places.get(identifier) or (self._reuse("f", stride * height), self._reuse("i", self.capacity))
        self._define(identifier, node.outputs, out, mask, plan.width)
        params = self._f.take(
            max(1, len(node.params)), [float("nan") if v is None else float(v) for v in node.params.values()] or None
        )
        address = builtin.address(load_kernel(node.operator, single=plan.width == 1))
        if node.operator.kind == "pointwise":
            block = [mask, out, params, *_flat(inputs, single=plan.width == 1)]
            self._join(pending, Kernel(address, [self.lanes[node.interval], plan.width, stride, 1, *block]))
            return
        scratch = self._f.take((len(inputs) + height) * plan.width if node.operator.kind == "cross_section" else 0)
        first = next(e.node for e in plan.inputs if e.node is not None)
        seen = first.interval if node.operator.kind == "resample" else node.interval
        block = [
            self.lanes[node.interval],
            plan.width,
            mask,
            out,
            stride,
            params,
            *self._states[identifier],
            _window(node),
            scratch,
            self.lanes[seen],
            *_flat(inputs, single=False),
        ]
        pending.append(Kernel(address, block))

    @staticmethod
    def _join(pending: list[Kernel], member: Kernel) -> None:
        """Add a node to the call of the neighbour before it, if both are of one operator and shape."""
        last = pending[-1] if pending else None
        if last is not None and last.address == member.address and last.block[:3] == member.block[:3]:
            last.block[3] += 1
            last.block += member.block[4:]
        else:
            pending.append(member)

    def _input(self, edge: Edge, node: OperatorNode, pending: list[Kernel]) -> list[int]:
        """Return ``[column, step of a row, step of a symbol, mask]`` of one input of an operator."""
        if edge.node is None:
            return [self._constant(float(edge.constant or 0.0)), 1, 0, self._always()]
        assert edge.field is not None  # operators read fields
        column = self.columns[edge.node.node_id, edge.field]
        if edge.node.interval != node.interval and node.operator.kind != "resample":
            column = self._align(edge, node.interval, column, pending)
        return [column.at, column.width, 0 if column.width == 1 else 1, column.mask]

    def _constant(self, value: float) -> int:
        """Return the column of a constant."""
        key = repr(value)  # tells 0.0 from -0.0
        if key not in self._constants:
            self._constants[key] = self._f.take(self.capacity, [value] * self.capacity)
        return self._constants[key]

    def _reuse(self, array: str, size: int) -> int:
        """Return a place that nobody reads any more, or a new one."""
        free = self._free.get((array, size))
        return free.pop() if free else (self._f if array == "f" else self._i).take(size)

    def _release(self, reader: str) -> None:
        """Give back the columns whose last reader has been laid out: memory follows live columns, not the graph."""
        for identifier in self._dying.get(reader, ()):
            plan = self.plan.nodes[identifier]
            size = self.capacity * plan.width * len(plan.fields or ())
            first = min(self.columns[identifier, name].at for name in plan.fields or ())
            self._free.setdefault(("f", size), []).append(first)
            self._free.setdefault(("i", self.capacity), []).append(self.masks[identifier])

    def _always(self) -> int:
        """Return the mask of what is always there."""
        if self._ones is None:
            self._ones = self._i.take(self.capacity, [1] * self.capacity)
        return self._ones

    def _align(self, edge: Edge, interval: int, column: Column, pending: list[Kernel]) -> Column:
        assert edge.node is not None  # constants have no lane
        assert edge.field is not None
        key = (edge.node.node_id, edge.field, interval)
        if key not in self._aligned:
            made = Column(self._f.take(self.capacity * column.width), self._i.take(self.capacity), column.width)
            block = [
                self.lanes[interval],
                self.lanes[edge.node.interval],
                made.mask,
                made.at,
                column.mask,
                column.at,
                column.width,
                *self._align_states[key],
            ]
            pending.append(Kernel(builtin.address(builtin.KERNELS["align"]), block))
            self._aligned[key] = made
        return self._aligned[key]


def _window(node: OperatorNode) -> int:
    if node.operator.kind == "resample":
        first = next(edge.node for edge in node.inputs if edge.node is not None)
        return node.interval // first.interval
    return node.operator.window(node.params)


def _flat(inputs: list[list[int]], *, single: bool) -> list[int]:
    """Return the settings of all inputs; columns of one symbol need no steps."""
    return [number for one in inputs for number in ((one[0], one[3]) if single else one)]


def _filled(arena: _Arena, kind: Any) -> np.ndarray[Any, Any]:
    array = np.zeros(arena.size, kind)
    for at, fill in arena.values.items():
        if isinstance(fill, list):
            array[at : at + len(fill)] = fill
        else:
            array[at] = fill
    return array
