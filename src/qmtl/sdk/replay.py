"""What a run must have emitted, from the bars that it recorded: by the batch driver, and in the order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmtl.engine.batch import chunk_rows, run_batch
from qmtl.engine.executor import Executor
from qmtl.engine.stream import StreamEngine
from qmtl.frame import Frame
from qmtl.interval import covered
from qmtl.live.rows import Rows
from qmtl.live.run_record import Arrival, RunRecord
from qmtl.live.sequence import NONE
from qmtl.live.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmtl.engine.plan import Plan

#: Rows of a source that the stream driver takes at once.
_ROWS = 1024
#: What is computed again before a repair: so many times the warm-up, and if that was not enough, everything.
_FURTHER = 4


@dataclass(frozen=True)
class Window:
    """A stretch of a run in which no bar was repaired: outputs that end in ``(after, until]`` rest on these bars."""

    after: int
    until: int
    bars: Mapping[str, Rows]


def batch(plan: Plan, bars: Mapping[str, Rows], until: int) -> dict[str, Rows]:
    """Compute the kept nodes of a plan over histories, of which it is known that nothing else ends by ``until``."""
    frames = {k: _frame(plan, k, rows) for k, rows in bars.items() if len(rows)}
    if len(frames) < len(bars):
        return {node: Rows.none() for node in plan.keep}
    executor = Executor(plan, chunk_rows(plan))
    found = run_batch(plan, frames, executor=executor)
    made = {k: [Rows.made(output.ts, dict(output.columns))] for k, output in found.items()}
    if until > max(covered(frame.ts, frame.interval).end for frame in frames.values()):
        executor.run(until, {})
        _collect(executor, made)
    return {node: _whole(parts) for node, parts in made.items()}


def _collect(executor: Executor, made: Mapping[str, list[Rows]]) -> None:
    for node, parts in made.items():
        ts, columns = executor.rows(node)
        if len(ts):
            parts.append(Rows.made(ts, columns))


def _whole(parts: Sequence[Rows]) -> Rows:
    there = [part for part in parts if len(part)]
    return Rows.joined(there) if there else Rows.none()


def _frame(plan: Plan, stream: str, rows: Rows) -> Frame:
    columns = dict(zip(rows.fields, rows.values, strict=True))
    return Frame(rows.ts, columns, plan.nodes[stream].node.interval, plan.nodes[stream].symbols)


def in_order_of_arrival(plan: Plan, record: RunRecord) -> dict[str, Rows]:
    """Compute the kept nodes by the stream driver, fed as the run was; for a run without repairs."""
    engine = StreamEngine(plan, _ROWS)
    made: dict[str, list[Rows]] = {node: [] for node in plan.keep}
    streams = [stream.node_id for stream in plan.dag.streams]
    bars, taken = {k: record.outputs(k) for k in streams}, dict.fromkeys(streams, 0)
    sources = {k: Source(plan.nodes[k].node.interval) for k in streams}

    def advance(until: int) -> None:
        for end, given in _pieces(sources, until):
            engine.advance(end, {k: (rows.ts, [*rows.values]) for k, rows in given.items()})
            _collect(engine.executor, made)

    through = NONE
    for arrival in record.arrivals():
        through = max(through, arrival.through)
        if arrival.node in bars and not arrival.revision:
            at, source = taken[arrival.node], sources[arrival.node]
            taken[arrival.node] = at + arrival.n
            source.put(bars[arrival.node].part(at, at + arrival.n), arrival.last + source.interval)
            advance(min(source.through for source in sources.values()))
    advance(last := max(source.through for source in sources.values()))
    if through > last > NONE:
        engine.advance(through, {})
        _collect(engine.executor, made)
    return {node: _whole(parts) for node, parts in made.items()}


def _pieces(sources: Mapping[str, Source], until: int) -> Iterator[tuple[int, dict[str, Rows]]]:
    """Yield what the stream driver takes at once: ends, and the rows up to them."""
    shortest = min(source.interval for source in sources.values())
    while True:
        ends = [end for source in sources.values() if (end := source.first_end) is not None]
        if not ends or min(ends) > until:
            return
        end = min(until, min(ends) + (_ROWS - 2) * shortest)
        given = {k: rows for k, source in sources.items() if (rows := source.take(end)) is not None}
        yield end, given


def windows(record: RunRecord, streams: list[str]) -> list[Window]:
    """Cut a run at its repairs."""
    bars = {k: record.outputs(k) for k in streams}
    repairs = {k: deque(rows for _, rows in record.parts(k, revised=True)) for k in streams}
    found, after, through = [], NONE, NONE
    for arrival in record.arrivals():
        if arrival.revision and repairs.get(arrival.node):
            if through > after:
                found.append(Window(after, through, dict(bars)))
                after = through
            bars[arrival.node] = bars[arrival.node].repaired(repairs[arrival.node].popleft())
        through = max(through, arrival.through)
    return [*found, Window(after, through, bars)]


def first_emitted(plan: Plan, record: RunRecord) -> dict[str, Rows]:
    """Return what the kept nodes must have emitted first, each bucket from the bars as they were known by then."""
    streams = [stream.node_id for stream in plan.dag.streams]
    found: dict[str, list[Rows]] = {node: [] for node in plan.keep}
    for window in windows(record, streams):
        for node, rows in _within(plan, window).items():
            found[node].append(rows)
    return {node: _whole(parts) for node, parts in found.items()}


def _within(plan: Plan, window: Window) -> dict[str, Rows]:
    """Compute one window from as many bars before as it needs."""
    warm = max(p.warmup_s + p.node.interval for p in plan.nodes.values())
    ends = {k: rows.ts + plan.nodes[k].node.interval for k, rows in window.bars.items()}
    until = {k: int(np.searchsorted(end, window.until, side="right")) for k, end in ends.items()}
    for begin in (window.after - _FURTHER * warm, NONE):
        given = {k: r.part(int(np.searchsorted(r.ts, begin)), until[k]) for k, r in window.bars.items()}
        made = batch(plan, given, window.until)
        if begin == NONE or all(_is_warm(plan, node, rows, window.after) for node, rows in made.items()):
            break
    return {node: _ending(rows, plan.nodes[node].node.interval, window) for node, rows in made.items()}


def _is_warm(plan: Plan, node: str, rows: Rows, after: int) -> bool:
    """Whether records begin before a moment: what follows does not depend on where the computation began."""
    return len(rows) > 0 and rows.first + plan.nodes[node].node.interval <= after


def _ending(rows: Rows, interval: int, window: Window) -> Rows:
    low, high = np.searchsorted(rows.ts + interval, [window.after, window.until], side="right")
    return rows.part(int(low), int(high))


def moving(one: Rows, other: Rows) -> NDArray[np.int64]:
    """Return the buckets in which two computations of a node differ."""
    return np.union1d(one.unlike(other).ts, other.unlike(one).ts)


def misplaced(record: RunRecord, stream: str) -> tuple[int, Arrival | None, str] | None:
    """Return bucket, arrival and what is wrong where the order of arrival does not give the recorded bars."""
    ts, at = record.outputs(stream).ts, 0
    for arrival in record.arrivals():
        if arrival.node == stream and not arrival.revision:
            stop = at + arrival.n
            if stop > len(ts) or ts[at] != arrival.first or ts[stop - 1] != arrival.last:
                return int(ts[min(at, len(ts) - 1)]) if len(ts) else arrival.first, arrival, "not recorded"
            at = stop
    return None if at == len(ts) else (int(ts[at]), None, "never arrived")
