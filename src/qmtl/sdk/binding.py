"""Data for the streams of a graph: which source, how much history, which gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmtl.calendars import Calendar
from qmtl.engine.plan import Plan
from qmtl.errors import DataGapError, NotEnoughHistoryError, SourceNotFoundError, unknown_name
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.graph.node import StreamInput
from qmtl.interval import Span, format_interval, format_time
from qmtl.sdk.data_io import fill_gaps, load

#: Streams that are loaded at the same time.
_AT_ONCE = 8


@dataclass(frozen=True)
class Gap:
    """Missing bars of one stream: half-open range of bucket starts."""

    stream: str
    start: int
    end: int
    bars: int


@dataclass(frozen=True)
class Bound:
    """A stream with its bars, warm-up bars first, and what is missing in the wanted span."""

    stream: StreamInput
    frame: Frame
    gaps: tuple[Gap, ...]


def sources(dag: Dag, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return stream id to source: ``data=`` by name, else the stream's own history provider.

    Raises
    ------
    UnknownNameError
        ``data=`` names something that is not a stream.
    SourceNotFoundError
        A stream has no source.
    """
    given = dict(data or {})
    streams = dag.streams
    labels = {name: dag.names[name] for name in dag.names if dag.names[name] in {s.node_id for s in streams}}
    for name in given:
        if name not in labels:
            raise unknown_name("stream in data=", name, labels or ["(give the StreamInput a name)"])
    found: dict[str, Any] = {labels[name]: source for name, source in given.items()}
    for stream in streams:
        if stream.node_id not in found:
            if stream.history_provider is None:
                raise SourceNotFoundError(
                    f"stream {stream.label!r} has no data",
                    hint=f'bind it: data={{"{stream.name or "price"}": "bars.parquet"}}, '
                    "or give it a name= or a history_provider=",
                )
            found[stream.node_id] = stream.history_provider
    return found


async def bind(
    dag: Dag,
    data: Mapping[str, Any] | None,
    span: Span,
    *,
    on_missing: str,
    calendar: Calendar,
) -> dict[str, Bound]:
    """Load, check and, where asked for, fill the bars of every stream.

    Raises
    ------
    DataGapError
        A bar is missing and the policy is to fail.
    NotEnoughHistoryError
        There are fewer bars than the warm-up needs.
    """
    bound_to = sources(dag, data)
    draft = Plan.of(dag)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(stream: StreamInput) -> Bound:
        async with gate:
            frame = await load(
                bound_to[stream.node_id],
                name=stream.label,
                interval=stream.interval,
                span=span,
                warmup=draft.history(stream.node_id),
                symbols=stream.symbols,
                node_id=stream.node_id,
            )
        return _apply_policy(stream, frame, span, stream.on_missing or on_missing, calendar)

    made = await asyncio.gather(*(one(stream) for stream in dag.streams))
    found = {bound.stream.node_id: bound for bound in made}
    _check_history(draft, found)
    return found


def _apply_policy(stream: StreamInput, frame: Frame, span: Span, policy: str, calendar: Calendar) -> Bound:
    if policy not in ("skip", "fill", "fail"):
        raise unknown_name("on_missing policy", policy, ("skip", "fill", "fail"))
    first, last = int(frame.ts[0]), int(frame.ts[-1]) + frame.interval
    missing = calendar.gaps(frame.ts, frame.interval, Span(first, last))
    inside = [m for m in missing if m.end > span.start and m.start < span.end]
    gaps = tuple(Gap(stream.label, m.start, m.end, (m.end - m.start) // frame.interval) for m in inside)
    if policy == "fail" and gaps:
        worst = gaps[0]
        raise DataGapError(
            f"stream {stream.label!r} misses {sum(g.bars for g in gaps)} bars of {format_interval(stream.interval)} "
            f"in {len(gaps)} gaps, the first from {format_time(worst.start)} to {format_time(worst.end)}",
            hint='use on_missing="skip" or "fill", a calendar, or repair the data',
        )
    return Bound(stream, fill_gaps(frame, missing) if policy == "fill" and missing else frame, gaps)


def _check_history(plan: Plan, bound: Mapping[str, Bound]) -> None:
    labels = plan.dag.labels()
    for identifier in plan.nodes:
        for stream in _upstream_streams(plan, identifier):
            frame, need = bound[stream].frame, plan.warmup(identifier)
            have = len(frame.ts) * frame.interval // plan.base_interval(identifier)
            if have < need:
                raise NotEnoughHistoryError(
                    f"node {labels[identifier]!r} needs {need} bars before its first output; stream "
                    f"{bound[stream].stream.label!r} has {have}",
                    hint="give a longer period of data, or a shorter lookback",
                )


def _upstream_streams(plan: Plan, identifier: str) -> Sequence[str]:
    stack, seen, found = [identifier], {identifier}, []
    while stack:
        at = stack.pop()
        if isinstance(plan.nodes[at].node, StreamInput):
            found.append(at)
        for edge in plan.nodes[at].inputs:
            if edge.node is not None and edge.node.node_id not in seen:
                seen.add(edge.node.node_id)
                stack.append(edge.node.node_id)
    return found
