"""Feeds for the streams of a graph that runs live: what ``data=`` names, opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qmtl.calendars import Calendar
from qmtl.graph.dag import Dag
from qmtl.interval import Span
from qmtl.sdk.binding import Bound, bind, find_sources
from qmtl.streams.feed import Feed
from qmtl.streams.pace import Pace
from qmtl.streams.recorded import Recorded


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
        What :meth:`Runner.backtest` takes, or a :class:`Feed`.
    span : Span
        What is wanted of recorded bars; bars before it warm up, and are there at once.
    speed : float or None
        How many times faster than they happened bars are played; None for as fast as it goes.
    calendar : Calendar
        Explains closures.
    on_missing : {"skip", "fill", "fail"}
        Policy for missing bars of recorded streams that have none of their own.
    now : callable
        Seconds of a clock that never goes back.

    Raises
    ------
    DataError
        Bars cannot be read, are missing, or are too few.
    UnknownNameError
        ``data`` names something that is not a stream.
    """
    found = find_sources(dag, names, data, every=False)
    live = {node: source for node, source in found.items() if isinstance(source, Feed)}
    stored = {node: source for node, source in found.items() if node not in live}
    bound = await bind(dag, stored, span, on_missing=on_missing, calendar=calendar)
    frames = {node: one.frame for node, one in bound.items()}
    ends = [int(frame.ts[-1]) + frame.interval for frame in frames.values()]
    horizon = max(ends, default=None)
    begin = max(span.start, min((int(frame.ts[0]) + frame.interval for frame in frames.values()), default=0))
    pace = Pace(speed, now, begin)
    played = {node: Recorded(frame, pace, horizon) for node, frame in frames.items()}
    return Feeds(played | live, bound, _furthest([*played.values(), *live.values()]))


def _furthest(feeds: Iterable[Feed]) -> int | None:
    ends = [feed.end for feed in feeds]
    return None if None in ends else max((end for end in ends if end is not None), default=None)
