"""Histories: the protocols that users implement, and how a stream's bars are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from qmtl.errors import DataError, DataFormatError, QmtlError, UsageError
from qmtl.frame import Frame
from qmtl.interval import FOREVER, Span, format_time
from qmtl.sdk.tables import read_table
from qmtl.sdk.validation import checked, joined

if TYPE_CHECKING:
    import pandas as pd

#: Seconds that a provider may take for one answer.
DEADLINE = 60.0
#: How often a provider is asked for an earlier start, each time for twice as much.
_WIDENINGS = 6
#: Prices that a bar without trades repeats from the last close.
_PRICES = ("open", "high", "low", "close")


@runtime_checkable
class DataFetcher(Protocol):
    """Fetches bars from somewhere.

    Examples
    --------
    >>> import pandas as pd
    >>> class Ramp:
    ...     async def fetch(self, start, end, *, node_id, interval):
    ...         ts = range(start, end, interval)
    ...         return pd.DataFrame({"ts": ts, "close": [float(t) for t in ts]})
    >>> isinstance(Ramp(), DataFetcher)
    True
    """

    async def fetch(self, start: int, end: int, *, node_id: str, interval: int) -> pd.DataFrame:
        """Return the bars whose buckets start in ``[start, end)``, seconds UTC; column ``ts`` and values."""


@runtime_checkable
class HistoryProvider(DataFetcher, Protocol):
    """A history: a :class:`DataFetcher` that may also say what it has.

    A provider with ``async coverage(*, node_id, interval) -> list[tuple[int, int]]`` can be used without a start
    and an end time.
    """


@runtime_checkable
class EventRecorder(Protocol):
    """Keeps what a stream received."""

    async def persist(self, node_id: str, interval: int, timestamp: int, payload: Any) -> None:
        """Keep one bar; ``timestamp`` is the start of its bucket, seconds UTC."""


async def load(
    source: Any,
    *,
    name: str,
    interval: int,
    span: Span,
    warmup: int = 0,
    symbols: Sequence[str] | None = None,
    node_id: str = "",
) -> Frame:
    """Load the bars of a span, and before them as many as warm up, where they exist.

    Parameters
    ----------
    source : path, frame, provider, or mapping of symbol to one of these
        See :func:`qmtl.sdk.tables.read_table` and :class:`HistoryProvider`.
    name : str
        What errors call the stream.
    interval : int
        Seconds of a bucket.
    span : Span
        Bucket starts that are wanted.
    warmup : int
        Existing bars wanted before the span.
    symbols : sequence of str, optional
        Names of a universe.
    node_id : str
        Passed to a provider.

    Returns
    -------
    Frame
        Sorted, on the grid, finite; at least one row.

    Raises
    ------
    DataError
        Names the stream, the row and the remedy.

    Examples
    --------
    >>> import asyncio, pandas as pd
    >>> bars = pd.DataFrame({"ts": [0, 60, 120, 180], "close": [1.0, 2.0, 3.0, 4.0]})
    >>> asyncio.run(load(bars, name="price", interval=60, span=Span(120, 180), warmup=1)).ts.tolist()
    [60, 120]
    """
    wanted = None if symbols is None else tuple(symbols)
    if isinstance(source, Mapping):
        frame = await _load_each(source, name=name, interval=interval, span=span, warmup=warmup, symbols=wanted)
    elif hasattr(source, "fetch"):
        frame = await _Asked(source, name, interval, wanted, node_id).load(span, warmup)
    else:
        table = await asyncio.to_thread(read_table, source, f"stream {name!r}")
        frame = checked(table, name=f"stream {name!r}", interval=interval, symbols=wanted)
    return _cut(frame, name, span, warmup)


async def _load_each(
    sources: Mapping[str, Any], *, name: str, interval: int, span: Span, warmup: int, symbols: tuple[str, ...] | None
) -> Frame:
    if symbols is None:
        raise DataFormatError(
            f"stream {name!r} got data by symbol but has no symbols",
            hint=f"StreamInput(…, symbols={list(sources)[:3]!r})",
        )
    if absent := [s for s in symbols if s not in sources]:
        raise DataFormatError(f"stream {name!r} has no data for {absent[0]!r}", hint=f"given: {list(sources)[:12]}")
    frames = await asyncio.gather(
        *(load(sources[s], name=f"{name}[{s}]", interval=interval, span=span, warmup=warmup) for s in symbols)
    )
    return joined(dict(zip(symbols, frames, strict=True)), interval)


def _cut(frame: Frame, name: str, span: Span, warmup: int) -> Frame:
    low, high = np.searchsorted(frame.ts, [span.start, span.end])
    if low == high:
        first, last = (format_time(int(t)) for t in frame.ts[[0, -1]])
        raise DataError(
            f"stream {name!r} has no bars between {format_time(span.start)} and {_shown(span.end)}",
            hint=f"its data run from {first} to {last}",
        )
    return frame.rows(max(0, int(low) - warmup), int(high))


def _shown(end: int) -> str:
    return "the end" if end >= FOREVER else format_time(end)


class _Asked:
    """A provider that is asked for bars of one stream."""

    def __init__(self, provider: Any, name: str, interval: int, symbols: tuple[str, ...] | None, node_id: str) -> None:
        self.provider, self.name, self.interval = provider, name, interval
        self.symbols, self.node_id = symbols, node_id

    async def load(self, span: Span, warmup: int) -> Frame:
        """Fetch a span with its warm-up; the history may have gaps, so an earlier start is asked for if needed."""
        span, earliest = await self._closed(span)
        start, reach = -(-span.start // self.interval) * self.interval, warmup
        for _ in range(_WIDENINGS):
            since = max(0, start - reach * self.interval)
            frame = await self._fetch(since, span.end)
            if np.searchsorted(frame.ts, span.start) >= warmup or since <= earliest:
                break
            reach *= 2
        return frame

    async def _closed(self, span: Span) -> tuple[Span, int]:
        """Return a span without open ends, and since when there may be bars."""
        if not hasattr(self.provider, "coverage"):
            if span.start and span.end < FOREVER:
                return span, 0
            raise UsageError(
                f"stream {self.name!r} comes from a provider that does not say what it has",
                hint="give start_time= and end_time=, or the provider a coverage()",
            )
        covered = await self._answer(self.provider.coverage(node_id=self.node_id, interval=self.interval), "coverage")
        if not covered:
            raise DataError(f"stream {self.name!r}: its provider has no bars", hint="fill the history first")
        first, last = min(start for start, _ in covered), max(end for _, end in covered)
        return Span(span.start or first, last if span.end >= FOREVER else span.end), first

    async def _fetch(self, start: int, end: int) -> Frame:
        work = self.provider.fetch(start, end, node_id=self.node_id, interval=self.interval)
        table = read_table(await self._answer(work, "fetch"), f"stream {self.name!r}")
        return checked(table, name=f"stream {self.name!r}", interval=self.interval, symbols=self.symbols)

    async def _answer(self, work: Any, what: str) -> Any:
        try:
            async with asyncio.timeout(DEADLINE):
                return await work
        except TimeoutError:
            raise DataError(
                f"stream {self.name!r}: {what}() of its provider took longer than {DEADLINE:.0f} s",
                hint="ask for a shorter span, or give the provider a time-out of its own",
            ) from None
        except QmtlError:
            raise
        except Exception as error:  # the provider is the user's: whatever it raises is told with its place
            raise DataError(
                f"stream {self.name!r}: {what}() of its provider failed: {type(error).__name__}: {error}"
            ) from error


def fill_gaps(frame: Frame, gaps: Sequence[Span]) -> Frame:
    """Carry the last bar of each symbol through gaps: prices repeat the last close, volume is 0, ``filled`` is 1.

    Parameters
    ----------
    frame : Frame
        Bars with gaps.
    gaps : sequence of Span
        What is missing, inside the frame.

    Examples
    --------
    >>> import numpy as np
    >>> bars = Frame(np.array([0, 180]), {"close": np.array([[1.0], [2.0]])}, 60)
    >>> fill_gaps(bars, [Span(60, 180)]).to_pandas()[["close", "filled"]].values.tolist()
    [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [2.0, 0.0]]
    """
    made = [np.arange(gap.start, gap.end, frame.interval, dtype=np.int64) for gap in gaps]
    ts = np.union1d(frame.ts, np.concatenate([*made, np.empty(0, np.int64)]))
    at = np.searchsorted(ts, frame.ts)
    columns = {}
    for name, values in frame.columns.items():
        columns[name] = np.full((len(ts), values.shape[1]), np.nan)
        columns[name][at] = values
    present = Frame(ts, columns, frame.interval).present
    rows = np.arange(len(ts))[:, None]
    last = np.maximum.accumulate(np.where(present, rows, -1), axis=0)
    # A symbol is carried between its first and its last bar, not beyond: it may not have been listed.
    added = ~present & (last >= 0) & (rows < np.where(present, rows, -1).max(axis=0))
    source = {name: columns["close" if name in _PRICES and "close" in columns else name] for name in columns}
    filled = {
        n: np.where(added, np.take_along_axis(source[n], np.maximum(last, 0), axis=0), columns[n]) for n in columns
    }
    if "volume" in filled:
        filled["volume"][added] = 0.0
    filled["filled"] = added.astype(np.float64)
    return Frame(ts, filled, frame.interval, frame.symbols)
