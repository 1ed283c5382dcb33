"""Data for the streams of a graph: which source, how much history, which gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmtl.calendars import Calendar
from qmtl.engine.plan import Plan
from qmtl.errors import DataGapError, DuplicateNameError, NotEnoughHistoryError, SourceNotFoundError, unknown_name
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.graph.node import StreamInput
from qmtl.interval import FOREVER, Span, covered, format_interval, format_time
from qmtl.sdk.data_io import fill_gaps, load

#: Streams that are loaded at the same time.
_AT_ONCE = 8


@dataclass(frozen=True)
class Gap:
    """Missing bars of one stream, or of one symbol of it (``price[ADA]``): half-open range of bucket starts."""

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


def find_sources(
    dag: Dag, names: Mapping[str, Iterable[str]], data: Mapping[str, Any] | None, *, every: bool = True
) -> dict[str, Any]:
    """Return stream id to source: ``data=`` by name, else the stream's own history provider.

    Without ``every``, a stream that has none is left out: a live run reads it from its queue.

    Raises
    ------
    UnknownNameError
        ``data=`` names something that is not a stream.
    SourceNotFoundError
        A stream has no source.
    """
    found: dict[str, Any] = {}
    bound_by: dict[str, str] = {}
    for name, source in (data or {}).items():
        if name not in names:
            raise unknown_name("stream in data=", name, names or ["(give the StreamInput a name)"])
        for identifier in names[name]:
            if identifier in found and not _is_same(found[identifier], source):
                raise DuplicateNameError(
                    f"streams {bound_by[identifier]!r} and {name!r} are one stream, and got different data",
                    hint="tell them apart by tags=, source= or interval=: these are what a stream is",
                )
            found[identifier], bound_by[identifier] = source, name
    for stream in dag.streams:
        source = found.setdefault(stream.node_id, stream.history_provider)
        if source is None and not every:
            del found[stream.node_id]
        elif source is None:
            raise SourceNotFoundError(
                f"stream {stream.label!r} has no data",
                hint=f'bind it: data={{"{stream.name or "price"}": "bars.parquet"}}, '
                "or give it a name= or a history_provider=",
            )
    return found


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, (str, Path)) and isinstance(b, (str, Path)) and Path(a) == Path(b))


async def bind(
    dag: Dag, found: Mapping[str, Any], span: Span, *, on_missing: str, calendar: Calendar
) -> dict[str, Bound]:
    """Load, check and, where asked for, fill the bars of every stream that has a source.

    Parameters
    ----------
    dag : Dag
        The graph.
    found : mapping of stream id to source
        Where the bars come from; see :func:`find_sources`.
    span : Span
        What is wanted; bars before it warm up.
    on_missing : {"skip", "fill", "fail"}
        Policy of streams that have none of their own.
    calendar : Calendar
        Explains closures.

    Raises
    ------
    DataGapError
        A bar is missing and the policy is to fail.
    NotEnoughHistoryError
        There are fewer bars than the warm-up needs.
    """
    draft = Plan.of(dag)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(stream: StreamInput) -> Bound:
        async with gate:
            frame = await load(
                found[stream.node_id],
                name=stream.label,
                interval=stream.interval,
                span=span,
                warmup=draft.history(stream.node_id),
                symbols=stream.symbols,
                node_id=stream.node_id,
            )
        return _apply_policy(stream, frame, span, stream.on_missing or on_missing, calendar)

    made = await asyncio.gather(*(one(stream) for stream in dag.streams if stream.node_id in found))
    bound = {one.stream.node_id: one for one in made}
    _check_history(draft, bound)
    return bound


def _apply_policy(stream: StreamInput, frame: Frame, span: Span, policy: str, calendar: Calendar) -> Bound:
    if policy not in ("skip", "fill", "fail"):
        raise unknown_name("on_missing policy", policy, ("skip", "fill", "fail"))
    gaps = tuple(find_gaps(stream, frame, span, calendar))
    if policy == "fail" and gaps:
        worst = gaps[0]
        raise DataGapError(
            f"stream {worst.stream!r} misses {sum(g.bars for g in gaps)} bars of {format_interval(stream.interval)} "
            f"in {len(gaps)} gap{'s' * (len(gaps) > 1)}, the first from {format_time(worst.start)} to "
            f"{format_time(worst.end)}",
            gaps=[Span(gap.start, gap.end) for gap in gaps],
            hint='use on_missing="skip" or "fill", a calendar, or repair the data',
        )
    if policy == "fill":
        frame = fill_gaps(frame, calendar.gaps(frame.ts, frame.interval, covered(frame.ts, frame.interval)))
    return Bound(stream, frame, gaps)


def find_gaps(stream: StreamInput, frame: Frame, span: Span, calendar: Calendar) -> Iterator[Gap]:
    """Yield what is missing, by symbol in a universe: where another symbol has a bar, this one may not."""
    if frame.symbols is None:
        parts = {stream.label: frame.ts}
    else:
        present = frame.present
        parts = {f"{stream.label}[{s}]": frame.ts[present[:, k]] for k, s in enumerate(frame.symbols)}
    for name, ts in parts.items():
        if len(ts):
            asked = _asked(span, covered(ts, frame.interval))
            for hole in calendar.gaps(ts, frame.interval, asked):
                yield Gap(name, hole.start, hole.end, len(hole) // frame.interval)


def _asked(span: Span, there: Span) -> Span:
    """Return the span in which bars are expected: what was asked for, or where that is open, what there is."""
    return Span(span.start or there.start, there.end if span.end >= FOREVER else span.end)


def _check_history(plan: Plan, bound: Mapping[str, Bound]) -> None:
    labels = plan.dag.labels()
    for identifier in plan.nodes:
        for stream in filter(bound.__contains__, plan.streams(identifier)):
            frame, need = bound[stream].frame, plan.warmup(identifier)
            have = len(frame.ts) * frame.interval // plan.base_interval(identifier)
            if have < need:
                raise NotEnoughHistoryError(
                    f"node {labels[identifier]!r} needs {need} bars before its first output; stream "
                    f"{bound[stream].stream.label!r} has {have}",
                    hint="give a longer period of data, or a shorter lookback",
                )
