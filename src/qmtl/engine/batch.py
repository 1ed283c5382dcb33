"""The batch driver: a whole history in chunks, each node over a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from qmtl.engine.executor import Chunk, Executor
from qmtl.engine.plan import Plan, PlanNode
from qmtl.engine.ring import Floats, Ints

#: Rows of a chunk: long enough to amortise a call, short enough to stay in the processor's cache.
CHUNK_ROWS = 16384
_CHUNK_VALUES = 1 << 21


class Bars(Protocol):
    """The bars of one stream: buckets int64[T] and one float64[T, S] for each field."""

    @property
    def ts(self) -> Ints:
        """Bucket starts, int64[T], seconds UTC."""
        ...

    @property
    def columns(self) -> Mapping[str, Floats]:
        """Field to values, float64[T, S]."""
        ...


@dataclass(frozen=True)
class Output:
    """What a node emitted: buckets int64[n], values float64[n, S] a field, or whole payloads."""

    ts: Ints
    columns: Mapping[str, Floats]
    objects: tuple[Any, ...] = ()

    def rows(self, start: int | None, stop: int | None = None) -> Output:
        """Return the records at the positions of ``[start, stop)``, counted as in a list; views, no copies."""
        part = slice(start, stop)
        return Output(self.ts[part], {k: v[part] for k, v in self.columns.items()}, self.objects[part])


def chunk_rows(plan: Plan) -> int:
    """Return how many rows a chunk should have for this plan."""
    values = sum(p.width * (1 + len(p.fields or ())) for p in plan.nodes.values())
    return max(16, min(CHUNK_ROWS, _CHUNK_VALUES // values))


class _Cursor:
    """Reads one stream's parts in order, as far as asked."""

    def __init__(self, parts: Iterable[Bars], interval: int, fields: tuple[str, ...]) -> None:
        self._parts, self.interval, self._fields = iter(parts), interval, fields
        self._bars: Bars | None = None
        self._at = 0
        self._refill()

    def _refill(self) -> None:
        while self._bars is None or self._at >= len(self._bars.ts):
            self._bars, self._at = next(self._parts, None), 0
            if self._bars is None:
                return

    @property
    def next_end(self) -> int | None:
        """End of the next bar; None after the last."""
        return None if self._bars is None else int(self._bars.ts[self._at]) + self.interval

    def take(self, watermark: int) -> Chunk:
        """Return the bars that end at or before a watermark."""
        taken: list[Chunk] = []
        while self._bars is not None:
            stop = int(np.searchsorted(self._bars.ts, watermark - self.interval, side="right"))
            part = slice(self._at, stop)
            if stop > self._at:
                taken.append((self._bars.ts[part], [self._bars.columns[name][part] for name in self._fields]))
            self._at = max(stop, self._at)
            if stop < len(self._bars.ts):
                break
            self._refill()
        if len(taken) == 1:
            return taken[0]
        if not taken:
            return np.zeros(0, np.int64), []
        return np.concatenate([ts for ts, _ in taken]), [
            np.concatenate(c) for c in zip(*(cols for _, cols in taken), strict=True)
        ]


def chunks(plan: Plan, data: Mapping[str, Bars | Iterable[Bars]], rows: int) -> Iterator[tuple[int, dict[str, Chunk]]]:
    """Cut histories into chunks of at most ``rows`` rows: ``(watermark, bars by stream)``.

    A history is bars, or an iterable of consecutive parts of them that need not fit into memory.
    """
    cursors = {
        k: _Cursor([bars] if hasattr(bars, "ts") else bars, plan.nodes[k].node.interval, plan.nodes[k].fields or ())  # type: ignore[list-item]
        for k, bars in data.items()
    }
    shortest = min(cursor.interval for cursor in cursors.values())
    while True:
        ends = [end for cursor in cursors.values() if (end := cursor.next_end) is not None]
        if not ends:
            return
        watermark = min(ends) + (rows - 1) * shortest
        made = {k: cursor.take(watermark) for k, cursor in cursors.items()}
        # Nothing is known to be complete after the last bar: the next one may be of the same bucket.
        last = max(int(ts[-1]) + cursors[k].interval for k, (ts, _) in made.items() if len(ts))
        yield last, made


class _Records:
    """Grows by whole chunks; what is reserved and never written costs no memory."""

    def __init__(self, room: int) -> None:
        self.ts, self.count = np.empty(room, np.int64), 0
        self.columns: dict[str, Floats] = {}
        self.objects: list[Any] = []

    def extend(self, ts: Ints, values: Mapping[str, Floats]) -> None:
        stop = self.count + len(ts)
        if stop > len(self.ts):
            room = max(stop, 2 * len(self.ts))
            self.ts = _longer(self.ts, room)
            self.columns = {name: _longer(column, room) for name, column in self.columns.items()}
        self.ts[self.count : stop] = ts
        for name, column in values.items():
            if name not in self.columns:
                self.columns[name] = np.empty((len(self.ts), column.shape[1]))
            self.columns[name][self.count : stop] = column
        self.count = stop

    def output(self, plan: PlanNode) -> Output:
        if not self.count:
            return Output(np.zeros(0, np.int64), {name: np.zeros((0, plan.width)) for name in plan.fields or ()})
        columns = {name: column[: self.count] for name, column in self.columns.items()}
        return Output(self.ts[: self.count], columns, tuple(self.objects))


def _longer(array: Any, room: int) -> Any:
    made = np.empty((room, *array.shape[1:]), array.dtype)
    made[: len(array)] = array
    return made


class Collector:
    """Gathers what the wanted nodes emit, chunk by chunk.

    Parameters
    ----------
    plan : Plan
        Whose nodes; those in ``plan.keep`` are wanted.
    data : mapping of stream id to Bars, or to an iterable of parts
        Bounds the number of records, where it is known.
    """

    def __init__(self, plan: Plan, data: Mapping[str, Any]) -> None:
        self._plan = plan
        room = sum(len(bars.ts) if hasattr(bars, "ts") else CHUNK_ROWS for bars in data.values())
        self._records = {k: _Records(room) for k in plan.nodes if k in plan.keep}

    def take(self, executor: Executor) -> None:
        """Take what the chunk that just ran emitted."""
        for identifier, records in self._records.items():
            ts, values = executor.rows(identifier, copy=False)
            if len(ts):
                records.extend(ts, values)
                if not values:
                    records.objects += executor.objects(identifier)[1]

    def outputs(self) -> dict[str, Output]:
        """Return everything taken, by id."""
        return {k: records.output(self._plan.nodes[k]) for k, records in self._records.items()}


def run_batch(
    plan: Plan,
    data: Mapping[str, Bars | Iterable[Bars]],
    *,
    rows: int | None = None,
    executor: Executor | None = None,
    on_chunk: Callable[[int], None] | None = None,
    sink: Callable[[Executor], None] | None = None,
) -> dict[str, Output]:
    """Compute a plan over histories.

    Parameters
    ----------
    plan : Plan
        What to compute and which outputs to keep.
    data : mapping of stream id to Bars, or to an iterable of consecutive parts
        Sorted, validated bars.
    rows : int, optional
        Rows of a chunk; the result does not depend on it.
    executor : Executor, optional
        Continue this one instead of a fresh one.
    on_chunk : callable, optional
        Called with the number of bars done after each chunk; may raise to stop.
    sink : callable, optional
        Called after each chunk instead of gathering the outputs: memory does not grow with the history.

    Returns
    -------
    dict of id to Output
        What the wanted nodes emitted.
    """
    size = rows or chunk_rows(plan)
    running = executor or Executor(plan, size)
    collector, done = Collector(plan, data), 0
    take = sink or collector.take
    for watermark, made in chunks(plan, data, size):
        running.run(watermark, made)
        take(running)
        done += sum(len(ts) for ts, _ in made.values())
        if on_chunk is not None:
            on_chunk(done)
    return collector.outputs()
