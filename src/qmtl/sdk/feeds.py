"""Feeds for the streams of a graph that runs live: what ``data=`` names, opened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from qmtl.calendars import Calendar
from qmtl.engine.plan import Plan
from qmtl.errors import UsageError, unknown_name
from qmtl.frame import Frame
from qmtl.generators import Market, gbm
from qmtl.graph.dag import Dag
from qmtl.graph.node import StreamInput
from qmtl.interval import FOREVER, Span
from qmtl.sdk.binding import Bound, bind, find_sources
from qmtl.streams.disturbed import Disturbed
from qmtl.streams.faults import parse_faults
from qmtl.streams.feed import Feed
from qmtl.streams.generated import Generated
from qmtl.streams.kafka_feed import KafkaFeed
from qmtl.streams.pace import Pace
from qmtl.streams.recorded import Recorded
from qmtl.streams.records import Topic, parse_topic


@dataclass(frozen=True)
class Feeds:
    """Feeds by stream.

    Attributes
    ----------
    by_node : dict of stream id to Feed
        A stream without one is only read from its queue.
    bound : dict of stream id to Bound
        The bars and gaps of those that are recorded.
    horizon : int or None
        Where the longest of them ends, seconds UTC; None when one goes on, or there is none.
    """

    by_node: dict[str, Feed]
    bound: dict[str, Bound]
    horizon: int | None

    def close(self) -> None:
        """Let go of what the feeds hold."""
        for feed in self.by_node.values():
            feed.close()


async def open_feeds(
    dag: Dag,
    names: Mapping[str, Iterable[str]],
    data: Mapping[str, Any] | None,
    *,
    span: Span,
    speed: float | None,
    calendar: Calendar,
    faults: str = "",
    on_missing: str = "skip",
    now: Callable[[], float] = time.monotonic,
) -> Feeds:
    """Open a feed for every stream that has a source.

    Parameters
    ----------
    dag : Dag
        The graph.
    names : mapping of stream name to ids
        What ``data`` may name.
    data : mapping of stream name to source, optional
        What :meth:`Runner.backtest` takes; ``"kafka://host:9092/topic"`` (:func:`qmtl.streams.records.parse_topic`);
        ``"generate://gbm?seed=1"`` with the parameters of :func:`qmtl.generators.gbm`; or a :class:`Feed`.
    span : Span
        What is wanted; bars before it warm up, and are there at once where they are recorded.
    speed : float or None
        How many times faster than they happened recorded bars are played; None for as fast as it goes.
    calendar : Calendar
        Explains closures.
    faults : str
        What goes wrong with recorded bars; see :func:`qmtl.streams.parse_faults`.
    on_missing : {"skip", "fill", "fail"}
        Policy for missing bars of recorded streams that have none of their own.
    now : callable
        Seconds of a clock that never goes back.

    Raises
    ------
    DataError
        Bars cannot be read, are missing, or are too few.
    UsageError
        A URL or faults that make no sense.
    UnknownNameError
        ``data`` names something that is not a stream.
    """
    streams = {stream.node_id: stream for stream in dag.streams}
    found = find_sources(dag, names, data, every=False)
    found = {node: _read(source, streams[node]) for node, source in found.items()}
    stored = {node: source for node, source in found.items() if not _is_endless(source, span)}
    bound = await bind(dag, stored, span, on_missing=on_missing, calendar=calendar)
    frames = {node: one.frame for node, one in bound.items()}
    horizon = max((int(frame.ts[-1]) + frame.interval for frame in frames.values()), default=None)
    first = min((int(frame.ts[0]) + frame.interval for frame in frames.values()), default=None)
    pace = Pace(speed, now, max(span.start, first or 0) or None)
    played = await asyncio.to_thread(_played, frames, pace, faults, horizon)
    draft = Plan.of(dag)
    since = {n: max(0, span.start - draft.history(n) * streams[n].interval) for n in found.keys() - stored.keys()}
    going = {node: _endless(found[node], streams[node], pace, begin) for node, begin in since.items()}
    return Feeds(played | going, bound, _furthest([*played.values(), *going.values()]))


def _read(source: Any, stream: StreamInput) -> Any:
    """Return what a URL stands for; anything else as it is."""
    if not isinstance(source, str) or "://" not in source:
        return source
    if source.startswith("kafka://"):
        return parse_topic(source)
    if source.startswith("generate://"):
        return _generator(source, stream)
    raise unknown_name(f"kind of source of stream {stream.label!r}", urlsplit(source).scheme, ("kafka", "generate"))


def _generator(url: str, stream: StreamInput) -> Any:
    """Return the market of a URL, or one for each symbol, each with a seed of its own."""
    parts, given = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
    if parts.netloc != "gbm":
        raise unknown_name("generator", parts.netloc, ("gbm",))
    if unknown := given.keys() - (known := signature(gbm).parameters):
        raise unknown_name("parameter of generate://gbm", min(unknown), [*known])
    kinds = {"seed": int, "step": int, "start": str, "end": str}
    try:
        values: dict[str, Any] = {name: kinds.get(name, float)(value) for name, value in given.items()}
    except ValueError as error:
        raise UsageError(f"{url!r} makes no sense: {error}", hint="generate://gbm?seed=1&price=100") from None
    if stream.symbols is None:
        return gbm(**values)
    seed = values.pop("seed", 1)
    return {symbol: gbm(**values, seed=seed + k) for k, symbol in enumerate(stream.symbols)}


def _is_endless(source: Any, span: Span) -> bool:
    is_open = isinstance(source, Market) and source.end is None and span.end >= FOREVER
    return is_open or isinstance(source, (Feed, Topic))


def _played(frames: Mapping[str, Frame], pace: Pace, faults: str, horizon: int | None) -> dict[str, Feed]:
    if not faults:
        return {node: Recorded(frame, pace, horizon) for node, frame in frames.items()}
    wrong = parse_faults(faults)
    return {
        node: Disturbed(frame, pace, replace(wrong, seed=wrong.seed + k), horizon)
        for k, (node, frame) in enumerate(sorted(frames.items()))
    }


def _endless(source: Any, stream: StreamInput, pace: Pace, begin: int) -> Feed:
    if isinstance(source, Feed):
        return source
    if isinstance(source, Market):
        make = partial(source.bars, stream.interval)
        return Generated(make, stream.interval, pace, max(begin, source.start))
    if stream.symbols is not None and len(stream.symbols) != 1:
        raise UsageError(
            f"stream {stream.label!r} has {len(stream.symbols)} symbols, and a topic gives bars of one",
            hint="make a stream for each symbol",
        )
    return KafkaFeed(source, stream.interval, begin)


def _furthest(feeds: Iterable[Feed]) -> int | None:
    ends = [feed.end for feed in feeds]
    return None if None in ends else max((end for end in ends if end is not None), default=None)
