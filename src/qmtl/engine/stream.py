"""The stream driver: sealed bars in, effects out, one instant at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from qmtl.engine import builtin
from qmtl.engine.batch import Bars, Collector, Output, chunks
from qmtl.engine.executor import Chunk, Executor
from qmtl.engine.plan import Plan, PlanNode
from qmtl.engine.program import Program
from qmtl.engine.ring import Floats, Ints
from qmtl.errors import DataFormatError, RunError
from qmtl.interval import format_time

#: Rows that one event may complete where it is not clear that there is one.
_ROWS = 16
#: Bars between two calls of ``on_chunk``.
_CALL_EVERY = 4096


class Sealed(msgspec.Struct, frozen=True):
    """Everything that is complete by ``end``: at most the bars that end after the last event.

    Attributes
    ----------
    end : int
        The watermark, seconds UTC: no bar that ends at or before it will come later.
    bars : mapping of stream id to (int, float64[fields, S])
        Bucket start and values of each stream that has a bar, fields in the plan's order.
    """

    end: int
    bars: Mapping[str, tuple[int, Any]]


@dataclass(slots=True)  # not frozen: that would cost as much as reading the record
class Emit:
    """Effect: a node emitted a record."""

    node_id: str
    bucket: int
    values: Mapping[str, Any]


@dataclass(slots=True)
class Block:
    """What nodes of one shape emitted at the last event, in one array: valid until the next one.

    Attributes
    ----------
    nodes, fields : tuple of str
        Ids, and names of the values.
    ts : int64[n]
        Buckets of their lane.
    masks : int64[nodes, n]
        1 where a node emitted a record.
    counts : list of int
        How many records each node emitted.
    values : float64[nodes, fields, n, S]
    """

    nodes: tuple[str, ...]
    fields: tuple[str, ...]
    ts: Ints
    masks: Ints
    counts: list[int]
    values: Floats


class Effects(Sequence[Emit]):
    """What the last event caused, read from the engine when somebody looks: valid until the next one."""

    __slots__ = ("_engine", "fast", "made")

    def __init__(self, engine: StreamEngine) -> None:
        self._engine = engine
        self.fast: _FastPath | None = None
        self.made: list[Emit] | None = None

    def _all(self) -> list[Emit]:
        if self.made is None and self.fast is not None:
            self.made = self.fast.read()
        if self.made is None:
            self.made = list(self._engine.emitted())
        return self.made

    def column(self, name: str = "value") -> list[float]:
        """Return one field of every kept node of one symbol, in the order of the plan; NaN where nothing was emitted.

        For who reads many nodes at every bar: it makes no object for each.
        """
        found = None if self.fast is None else self.fast.column(name)
        if found is not None:
            return found
        engine = self._engine
        last = {effect.node_id: effect.values[name] for effect in self._all() if name in effect.values}
        return [last.get(node, math.nan) for node in engine.plan.nodes if engine.has_field(node, name)]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Emit]:
        return iter(self._all())

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]


class StreamEngine:
    """A plan that runs bar by bar: no I/O, no clock, no event loop.

    ``handle(event)`` computes every node that the event completes, in one compiled call where no
    user function is in between, and returns effects. The same events always give the same effects,
    and the same bits as the batch driver.

    Parameters
    ----------
    plan : Plan
        What to compute; effects are made for the ids in ``plan.keep``.
    capacity : int, optional
        Rows of a source that :meth:`advance` takes at once; by default as many as one event may complete.

    Examples
    --------
    >>> from qmtl.engine.plan import Plan
    >>> from qmtl.engine.stream import Sealed, StreamEngine
    >>> from qmtl.graph.dag import Dag
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import StreamInput
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> mean = sma(price.close, 2, name="mean")
    >>> engine = StreamEngine(Plan.of(Dag.of([mean]), keep=[mean.node_id]))
    >>> [len(engine.handle(Sealed(ts + 60, {price.node_id: (ts, [ts])}))) for ts in (0, 60)]
    [0, 1]
    """

    def __init__(self, plan: Plan, capacity: int | None = None) -> None:
        self.plan = plan
        self._executor = Executor(plan, capacity or _room(plan), by_operator=True)
        self._fast = _FastPath.of(self._executor)
        self._effects = Effects(self)
        self._end = builtin.NONE

    def handle(self, event: Sealed) -> Effects:
        """Take an event and return what it caused.

        Raises
        ------
        DataFormatError
            The event is not later than the last one, or holds a bar that it cannot.
        """
        end = event.end
        if end <= self._end:
            self._check_later(end)
        self._end = end
        effects, fast, bars = self._effects, self._fast, event.bars
        effects.made = None
        if fast is None or len(bars) != 1:
            effects.fast = None
            self._executor.run(end, {k: _as_chunk(ts, row) for k, (ts, row) in bars.items()})
            return effects
        effects.fast = fast
        ((ts, row),) = bars.values()
        for k, place in fast.more:
            fast.f[place] = row[k]
        fast.tick(end, ts, row[0])
        return effects

    def advance(self, end: int, chunks: Mapping[str, Chunk]) -> None:
        """Take several rows of each source at once; :meth:`rows` then tells what every node emitted.

        Parameters
        ----------
        end : int
            The watermark, as in :class:`Sealed`.
        chunks : mapping of source id to (int64[n], sequence of float64[n, S])
            At most ``capacity`` rows of each source, all of which end after the last watermark.

        Raises
        ------
        DataFormatError
            The watermark is not later than the last one.
        """
        self._check_later(end)
        self._effects.fast, self._effects.made = None, None
        self._executor.run(end, chunks)

    def rows(self, identifier: str) -> tuple[Ints, dict[str, Floats]]:
        """Return what a node emitted at the last event: buckets int64[n], values float64[n, S] a field; copies."""
        return self._executor.rows(identifier)

    def blocks(self) -> Iterator[Block]:
        """Yield what all kept nodes emitted at the last event, but for those whose function is a user's."""
        program = self._executor.program
        for shelf in program.shelves:
            ts = program.rows(shelf.interval)
            masks, values = program.shelf(shelf)
            masks, values = masks[:, : len(ts)], values[:, :, : len(ts)]
            yield Block(shelf.nodes, shelf.fields, ts, masks, masks.sum(axis=1).tolist(), values)

    def objects(self, identifier: str) -> tuple[list[int], list[Any]]:
        """Return the whole payloads that a user's node emitted at the last event."""
        return self._executor.objects(identifier)

    def _check_later(self, end: int) -> None:
        if end <= self._end:
            raise DataFormatError(
                f"an event for {format_time(end)} came after {format_time(self._end)}",
                hint="seal bars in time order; late bars are a new revision",
            )
        self._end = end

    def emitted(self) -> Iterator[Emit]:
        """Yield what the last event caused, in topological order."""
        for identifier in self.plan.nodes:
            if identifier in self.plan.keep:
                ts, values = self._executor.rows(identifier)
                if not values:
                    starts, payloads = self._executor.objects(identifier)
                    yield from (Emit(identifier, at, {"payload": p}) for at, p in zip(starts, payloads, strict=True))
                for k, bucket in enumerate(ts.tolist() if values else ()):
                    yield Emit(identifier, bucket, {name: _scalar(column[k]) for name, column in values.items()})

    def has_field(self, identifier: str, name: str) -> bool:
        """Whether effects are made for a node, and have a field."""
        return identifier in self.plan.keep and name in (self.plan.nodes[identifier].fields or ())

    @property
    def executor(self) -> Executor:
        """The state behind this engine; for drivers that collect columns instead of effects."""
        return self._executor

    def snapshot(self) -> bytes:
        """Return the whole state; :meth:`restore` goes on with the same bits.

        Raises
        ------
        RunError
            A node emits whole frames: its window cannot be saved as plain data.
        """
        state = self._executor.snapshot()
        if state["objects"]:
            raise RunError("a node that emits whole frames has no snapshot yet", hint="emit records of numbers")
        return msgspec.msgpack.encode({"ids": list(self.plan.nodes), "end": self._end, **state})

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a snapshot of the same plan.

        Raises
        ------
        RunError
            The snapshot belongs to another plan.
        """
        saved = msgspec.msgpack.decode(snapshot)
        if saved["ids"] != list(self.plan.nodes):
            raise RunError("the snapshot belongs to another plan", hint="prime the new plan from history instead")
        self._end = saved["end"]
        self._executor.restore(saved)


def _room(plan: Plan) -> int:
    """Return for how many rows there is room: the fewer there are, the less memory a bar touches."""
    return 1 if plan.rows_of_event == 1 else max(_ROWS, plan.rows_of_event)


def _as_chunk(ts: int, row: Any) -> Chunk:
    values = np.asarray(row, np.float64)
    return np.array([ts], np.int64), [column.reshape(1, -1) for column in values]


def _scalar(value: Any) -> Any:
    return float(value[0]) if len(value) == 1 else value


class _FastPath:
    """One bar of one single-symbol stream, all nodes compiled: four stores and one call."""

    def __init__(self, executor: Executor, identifier: str) -> None:
        program = executor.program
        source, call = program.sources[identifier], program.calls[0]
        places = [source.staging + k * program.capacity for k in range(len(source.fields))]
        self.f, self.more = program.f.data, list(enumerate(places))[1:]
        bucket = int(program.i[source.header + 1])
        self.tick, self._alive = builtin.ticker(
            program.i, program.f, call.start, call.stop, source.header, bucket, places[0]
        )
        self._i = program.i.data
        self._readers = [
            _reader(program, k, plan) for k, plan in executor.plan.nodes.items() if k in executor.plan.keep
        ]
        self._program, self._columns = program, dict[str, _Column]()

    @classmethod
    def of(cls, executor: Executor) -> _FastPath | None:
        program = executor.program
        sources = list(program.sources.items())
        if len(sources) == 1 and sources[0][1].width == 1 and len(program.calls) == 1 and not executor.user_nodes:
            return cls(executor, sources[0][0])
        return None

    def column(self, name: str) -> list[float] | None:
        """Return a field of every node that has it, or None where a node may have emitted more than one record."""
        if name not in self._columns:
            self._columns[name] = _Column(self._program, name)
        return self._columns[name].read()

    def read(self) -> list[Emit] | None:
        """Return what was emitted, or None where a node may have emitted more than one record."""
        i, f, made = self._i, self.f, []
        for identifier, lane, mask, bucket, name, at, others in self._readers:
            rows = i[lane]
            if rows > 1:
                return None
            if rows and i[mask]:
                values = {name: f[at]}
                for other, place in others:
                    values[other] = f[place]
                made.append(Emit(identifier, i[bucket], values))
        return made


class _Column:
    """One field of all kept nodes of one symbol, as it lies on shelves."""

    def __init__(self, program: Program, name: str) -> None:
        self._i, found = program.i.data, list[str]()
        #: Lane, masks, all of them when everything is there, values; views of the first row.
        self._pieces: list[tuple[int, Any, bytes, Any]] = []
        for shelf in program.shelves:
            if name in shelf.fields:
                masks, values = program.shelf(shelf)
                column = values[:, shelf.fields.index(name), 0, 0].data
                all_there = np.ones(len(masks), np.int64).tobytes()
                self._pieces.append((program.lanes[shelf.interval], masks[:, 0].data, all_there, column))
                found += shelf.nodes
        ranks = {node: rank for rank, node in enumerate(program.plan.nodes)}
        order = sorted(range(len(found)), key=lambda k: ranks[found[k]])
        #: The order of the plan, where it is not that of the shelves.
        self._order = None if order == [*range(len(found))] else order

    def read(self) -> list[float] | None:
        """Return the values of the only rows, NaN where there is none; None where a lane has more rows."""
        found: list[float] = []
        for lane, masks, all_there, column in self._pieces:
            rows, values = self._i[lane], column.tolist()
            if rows > 1:
                return None
            if rows == 0 or masks.tobytes() != all_there:
                there = masks.tolist() if rows else [0] * len(values)
                values = [value if here else math.nan for here, value in zip(there, values, strict=True)]
            found = found + values if found else values
        return found if self._order is None else [found[k] for k in self._order]


#: Id, lane, mask, bucket, first field with its place, other fields with theirs.
_Reader = tuple[str, int, int, int, str, int, list[tuple[str, int]]]


def _reader(program: Program, identifier: str, plan: PlanNode) -> _Reader:
    lane = program.lanes[plan.node.interval]
    (name, at), *others = [(name, program.columns[identifier, name].at) for name in plan.fields or ()]
    return identifier, lane, program.masks[identifier], int(program.i[lane + 1]), name, at, others


def run_stream(
    plan: Plan,
    data: Mapping[str, Bars],
    *,
    engine: StreamEngine | None = None,
    on_chunk: Callable[[int], None] | None = None,
) -> dict[str, Output]:
    """Compute a plan over histories bar by bar; equal to :func:`qmtl.engine.batch.run_batch` to the bit."""
    running = engine or StreamEngine(plan)
    collector = Collector(plan, data)
    done = 0
    for event in events(plan, data):
        running.handle(event)
        collector.take(running.executor)
        done += len(event.bars)
        if on_chunk is not None and done % _CALL_EVERY < len(event.bars):
            on_chunk(done)
    return collector.outputs()


def events(plan: Plan, data: Mapping[str, Bars]) -> Iterator[Sealed]:
    """Turn histories into one event for each instant at which bars end."""
    for watermark, made in chunks(plan, data, 1):
        yield Sealed(
            watermark,
            {k: (int(ts[0]), [_scalar(c[0]) for c in columns]) for k, (ts, columns) in made.items() if len(ts)},
        )
