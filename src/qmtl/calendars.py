"""Trading calendars: which missing bars are closures, and how many days a year has."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.errors import unknown_name
from qmtl.interval import Span, missing

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: The calendar of markets that never close.
ALWAYS = "24/7"


class Calendar:
    """When a market is open.

    Parameters
    ----------
    name : str
        ``"24/7"``, or a name that ``exchange_calendars`` knows: ``"XNYS"``, ``"XTKS"``, ``"24/5"``, …

    Attributes
    ----------
    name : str
        As given.
    periods_per_year : int
        Days that returns are annualised by: 365 if the market never closes, else 252.

    Raises
    ------
    UnknownNameError
        No such calendar.

    Examples
    --------
    >>> Calendar("24/7").periods_per_year
    365
    """

    def __init__(self, name: str = ALWAYS) -> None:
        if name != ALWAYS:
            _check(name)
        self.name = name
        self.periods_per_year = 365 if name == ALWAYS else 252

    def __repr__(self) -> str:
        return f"Calendar({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def open_mask(self, buckets: NDArray[np.int64], interval: int) -> NDArray[np.bool_]:
        """Return whether the market is open at some time of each bucket.

        Parameters
        ----------
        buckets : int64[T]
            Bucket starts in increasing order, seconds UTC.
        interval : int
            Seconds of a bucket.

        Returns
        -------
        bool[T]
        """
        if self.name == ALWAYS or not len(buckets):
            return np.ones(len(buckets), dtype=np.bool_)
        opens, closes = _sessions(self.name, int(buckets[0]), int(buckets[-1]) + interval)
        # A bucket is open if a session opens before the bucket ends, and has not closed when the bucket starts.
        begun = np.searchsorted(opens, buckets + interval, side="left")
        over = np.searchsorted(closes, buckets, side="right")
        return np.asarray(begun > over)

    def gaps(self, ts: NDArray[np.int64], interval: int, span: Span) -> list[Span]:
        """Return the missing buckets of a span that no scheduled closure explains.

        Parameters
        ----------
        ts : int64[T]
            Bucket starts that exist, strictly increasing, seconds UTC.
        interval : int
            Seconds of a bucket.
        span : Span
            What is wanted, by bucket start.
        """
        holes = missing(ts, interval, span)
        if self.name == ALWAYS or not holes:
            return holes
        buckets = np.concatenate([np.arange(hole.start, hole.end, interval, dtype=np.int64) for hole in holes])
        return _runs(buckets[self.open_mask(buckets, interval)], interval)


def _runs(buckets: NDArray[np.int64], interval: int) -> list[Span]:
    """Return stretches of consecutive buckets as spans."""
    if not len(buckets):
        return []
    breaks = np.flatnonzero(np.diff(buckets) > interval)
    starts = buckets[np.concatenate(([0], breaks + 1))]
    ends = buckets[np.concatenate((breaks, [len(buckets) - 1]))] + interval
    return [Span(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _check(name: str) -> None:
    import exchange_calendars

    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name not in known:
        raise unknown_name("calendar", name, [ALWAYS, "24/5", *known])


@lru_cache(maxsize=16)
def _sessions(name: str, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return opening and closing times of the sessions that touch a span, seconds UTC."""
    import exchange_calendars
    import pandas as pd

    day = 86_400
    first, last = (pd.Timestamp(t - t % day, unit="s") for t in (start - 7 * day, end + 7 * day))
    with warnings.catch_warnings():  # its own use of pandas warns, and the user can do nothing about it
        warnings.simplefilter("ignore")
        calendar: Any = exchange_calendars.get_calendar(name, start=first, end=last)
    return _seconds(calendar.opens), _seconds(calendar.closes)


def _seconds(moments: pd.Series) -> NDArray[np.int64]:
    naive = moments.dt.tz_localize(None).to_numpy()
    return np.asarray(naive.astype("datetime64[s]").astype(np.int64))
