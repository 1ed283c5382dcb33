"""Bars that are made when they are due, without an end."""

from __future__ import annotations

import math
from collections.abc import Callable

from qmtl.frame import Frame
from qmtl.interval import Span
from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.pace import Pace


class Generated(Feed):
    """Makes bars at a pace, from a function that gives the same bars whoever asks.

    Parameters
    ----------
    bars : callable
        Returns all bars of a span of buckets; see :class:`qmtl.generators.Market`.
    interval : int
        Seconds of a bucket.
    pace : Pace
        The time of the data; feeds of one run share it.
    begin : int
        First moment, seconds UTC.

    Examples
    --------
    >>> from qmtl.generators import gbm
    >>> market = gbm(seed=7, start=0)
    >>> feed = Generated(lambda span: market.bars(60, span), 60, Pace(None), begin=0)
    >>> feed.arrived(after=600, limit=3).bars.ts.tolist(), feed.end
    ([660, 720, 780], None)
    """

    def __init__(self, bars: Callable[[Span], Frame], interval: int, pace: Pace, begin: int) -> None:
        self._bars, self._interval, self._pace = bars, interval, pace
        self._begin = -(-begin // interval) * interval
        self.fields = bars(Span(self._begin, self._begin + interval)).fields

    def arrived(self, after: int, limit: int) -> Arrived:
        interval = self._interval
        start = max(self._begin, after // interval * interval + interval)
        proven = start if start > self._begin else None
        reached = self._pace.reached(proven, self._begin + interval)
        due = limit if reached == math.inf else min(limit, int((reached - start) // interval))
        if due < 1:
            return Arrived(through=start, wait_s=self._pace.wait_s(start + interval, reached))
        end = start + due * interval
        return Arrived(self._bars(Span(start, end)), end, self._pace.wait_s(end + interval, reached))
