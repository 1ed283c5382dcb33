"""Recorded bars, played again at any speed."""

from __future__ import annotations

import math

import numpy as np

from qmtl.frame import Frame
from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.pace import Pace

#: What a feed that is at its end says: there is no use in asking.
NOTHING_MORE_S = 3600.0


class Recorded(Feed):
    """Plays bars as they ended, at a pace. What is missing is passed over when its time has come.

    Parameters
    ----------
    frame : Frame
        What was recorded.
    pace : Pace
        The time of the data; feeds of one run share it.
    horizon : int, optional
        Where the longest feed of the run ends, seconds UTC: behind its last bar, this one is known as far as that.

    Examples
    --------
    >>> import numpy as np
    >>> from qmtl.frame import Frame
    >>> feed = Recorded(Frame(np.array([0, 60]), {"close": np.array([[1.0], [2.0]])}, 60), Pace(None), horizon=300)
    >>> made = feed.arrived(after=0, limit=10)
    >>> made.bars.ts.tolist(), made.through, feed.end
    ([60], 300, 300)
    """

    def __init__(self, frame: Frame, pace: Pace, horizon: int | None = None) -> None:
        self._frame, self._pace, self.fields = frame, pace, frame.fields
        own = int(frame.ts[-1]) + frame.interval if len(frame) else None
        self.end = own if horizon is None else max(horizon, own or horizon)

    def arrived(self, after: int, limit: int) -> Arrived:
        ts, interval = self._frame.ts, self._frame.interval
        first = int(np.searchsorted(ts, after, side="right"))
        if first == len(ts):
            return Arrived(through=self.end, wait_s=NOTHING_MORE_S)
        proven = int(ts[first - 1]) + interval if first else None
        reached = self._pace.reached(proven, int(ts[0]) + interval)
        due = len(ts) if reached == math.inf else int(np.searchsorted(ts, reached - interval, side="right"))
        stop = min(first + limit, due)
        bars = self._frame.rows(first, stop) if stop > first else None
        if stop == len(ts):
            return Arrived(bars, self.end, NOTHING_MORE_S)
        upcoming = int(ts[stop])
        if stop < due:
            return Arrived(bars, upcoming)
        through = min(upcoming, int(reached) // interval * interval)
        return Arrived(bars, through, self._pace.wait_s(through + interval, reached))
