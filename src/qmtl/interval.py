"""Intervals, times and spans: integer seconds UTC, half-open, on a grid.

A bar belongs to the bucket ``ts - ts % interval``. Everything that asks what is missing uses one algebra:
gaps = wanted − covered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qmtl.errors import IntervalError

if TYPE_CHECKING:
    import numpy as np

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FORM = 'whole seconds, or "1s" "1m" "5m" "15m" "1h" "4h" "1d" "1w"'
#: Later than every bar: the end of an open span.
FOREVER = 1 << 40
#: Integers above this are taken for milliseconds: as seconds they are after the year 5138.
LATEST = 100_000_000_000


def parse_interval(interval: int | str) -> int:
    """Return the seconds of an interval.

    Raises
    ------
    IntervalError
        Not positive, not a whole number of seconds, an unknown unit, or a month, which has no fixed length.

    Examples
    --------
    >>> parse_interval("15m"), parse_interval(60)
    (900, 60)
    """
    if isinstance(interval, int) and not isinstance(interval, bool):
        seconds = interval
    else:
        found = re.fullmatch(r"([0-9]+)([A-Za-z]+)", interval.strip()) if isinstance(interval, str) else None
        if found is None:
            raise IntervalError(f"interval {interval!r} is not an interval", hint=f"give {_FORM}")
        if found[2] in ("M", "mo", "month", "months"):
            raise IntervalError(
                f"interval {interval!r}: a month has no fixed length", hint='give days or weeks, such as "4w"'
            )
        if found[2] not in _UNITS:
            raise IntervalError(f"interval {interval!r} has the unknown unit {found[2]!r}", hint=f"give {_FORM}")
        seconds = int(found[1]) * _UNITS[found[2]]
    if seconds <= 0:
        raise IntervalError(f"interval {interval!r} is not positive", hint=f"give {_FORM}")
    return seconds


def read_interval(text: str) -> int:
    """Return the seconds of an interval that came as text: digits are seconds; errors are those of parse_interval.

    Examples
    --------
    >>> read_interval("15m"), read_interval("60")
    (900, 60)
    """
    return parse_interval(int(text) if text.isdigit() else text)


def format_interval(seconds: int) -> str:
    """Return an interval in its largest whole unit.

    Examples
    --------
    >>> format_interval(900), format_interval(90)
    ('15m', '90s')
    """
    unit = next(unit for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def parse_time(time: int | str | datetime) -> int:
    """Return seconds UTC of a time; without a zone it is UTC.

    Parameters
    ----------
    time : int, str or datetime
        Seconds UTC; ISO 8601 such as ``"2024-01-01"``, ``"20240101"``, ``"2024-01-01T12:30+01:00"``; or a datetime.

    Raises
    ------
    IntervalError
        Not a time, not whole seconds, or looks like milliseconds.

    Examples
    --------
    >>> parse_time("2022-01-01"), parse_time("2022-01-01T01:00+01:00")
    (1640995200, 1640995200)
    """
    known: Any = time  # callers without types pass anything
    if isinstance(known, bool) or not (isinstance(known, (str, datetime)) or hasattr(known, "__index__")):
        raise IntervalError(f"time {time!r} is not a time", hint="give seconds UTC, an ISO string or a datetime")
    if isinstance(time, str) and not re.fullmatch(r"[0-9]{9,}", time.strip()):
        return _seconds_of(_parse_iso(time), time)
    if isinstance(time, datetime):
        return _seconds_of(time, time)
    seconds = int(time)
    if abs(seconds) > LATEST:
        raise IntervalError(f"time {time!r} looks like milliseconds", hint="times are seconds UTC: divide by 1000")
    return seconds


def _parse_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise IntervalError(
            f"time {text!r} is not a time",
            hint='give seconds UTC or ISO 8601, such as "2024-01-01" or "2024-01-01T12:30"',
        ) from None


def _seconds_of(moment: datetime, given: Any) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if aware.microsecond:
        raise IntervalError(f"time {given!r} is not a whole second", hint="times are whole seconds")
    return int(aware.timestamp())


def format_time(seconds: int) -> str:
    """Return a time as ISO 8601 in UTC.

    Examples
    --------
    >>> format_time(1640995200)
    '2022-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, order=True)
class Span:
    """Half-open stretch of time ``[start, end)``, seconds UTC.

    Examples
    --------
    >>> len(Span(0, 120)), 120 in Span(0, 120), Span(0, 120).intersect(Span(60, 300))
    (120, False, Span(start=60, end=120))
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise IntervalError(
                f"span ends at {format_time(self.end)}, before it starts at {format_time(self.start)}",
                hint="a span is [start, end)",
            )

    def __len__(self) -> int:
        return self.end - self.start

    def __contains__(self, time: int) -> bool:
        return self.start <= time < self.end

    def intersect(self, other: Span) -> Span:
        """Return what both cover; empty, at the later start, when they do not touch."""
        start = max(self.start, other.start)
        return Span(start, max(start, min(self.end, other.end)))

    def buckets(self, interval: int) -> range:
        """Return the starts of the buckets whose start lies in the span."""
        return range(self.start + -self.start % interval, self.end, interval)


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans: sorted, disjoint, not touching.

    Examples
    --------
    >>> merge([Span(60, 120), Span(0, 60), Span(300, 360)])
    [Span(start=0, end=120), Span(start=300, end=360)]
    """
    merged: list[Span] = []
    for span in sorted(s for s in spans if len(s)):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def subtract(wanted: Span, covered: Sequence[Span]) -> list[Span]:
    """Return the parts of a span that no other span covers.

    Examples
    --------
    >>> subtract(Span(0, 300), [Span(60, 120)])
    [Span(start=0, end=60), Span(start=120, end=300)]
    """
    left, at = [], wanted.start
    for span in merge(wanted.intersect(s) for s in covered):
        if span.start > at:
            left.append(Span(at, span.start))
        at = span.end
    return [*left, Span(at, wanted.end)] if at < wanted.end else left


def covered(ts: np.ndarray[Any, np.dtype[np.int64]], interval: int) -> Span:
    """Return the span from the first bar to the end of the last one; there is at least one bar.

    Examples
    --------
    >>> import numpy as np
    >>> covered(np.array([60, 180]), 60)
    Span(start=60, end=240)
    """
    return Span(int(ts[0]), int(ts[-1]) + interval)


def missing(ts: np.ndarray[Any, np.dtype[np.int64]], interval: int, span: Span) -> list[Span]:
    """Return the buckets of a span that have no bar, as spans.

    Parameters
    ----------
    ts : int64[T]
        Bucket starts, strictly increasing, on the grid, seconds UTC.
    interval : int
        Seconds of a bucket.
    span : Span
        What is wanted, by bucket start.

    Examples
    --------
    >>> import numpy as np
    >>> missing(np.array([0, 60, 240]), 60, Span(0, 360))
    [Span(start=120, end=240), Span(start=300, end=360)]
    """
    import numpy as np

    buckets = span.buckets(interval)
    if not buckets:
        return []
    inside = ts[np.searchsorted(ts, buckets.start) : np.searchsorted(ts, buckets.stop)]
    edges = np.concatenate(([buckets[0] - interval], inside, [buckets[-1] + interval]))
    broken = np.flatnonzero(np.diff(edges) > interval)
    return [Span(int(edges[k]) + interval, int(edges[k + 1])) for k in broken]
