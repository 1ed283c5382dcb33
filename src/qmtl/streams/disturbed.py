"""Replay with faults: what a bad source sends, sealed. The same for everybody who asks, under one seed."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from qmtl.frame import Frame
from qmtl.streams.faults import Faults, arrivals
from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.pace import Pace
from qmtl.streams.recorded import NOTHING_MORE_S
from qmtl.streams.seal import Bar, Bars, Sealer

#: Who asks first is told again of late bars that came so many intervals before.
_TOLD_AGAIN = 64


class Disturbed(Feed):
    """Plays recorded bars with faults at a pace.

    Parameters
    ----------
    frame : Frame
        What was recorded.
    pace : Pace
        The time of the data; feeds of one run share it.
    faults : Faults
        What goes wrong.
    horizon : int, optional
        Where the longest feed of the run ends, seconds UTC.

    Attributes
    ----------
    sealed, repaired : Frame
        The bars as they were sealed; and with the latest value of each bucket, late bars included.
    tally : Tally
        What became of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from qmtl.frame import Frame
    >>> frame = Frame(np.arange(0, 6000, 60), {"close": np.ones((100, 1))}, 60)
    >>> feed = Disturbed(frame, Pace(None), Faults(missing=0.05, double=0.1, seed=3))
    >>> feed.tally.arrived, feed.tally.sealed, feed.tally.duplicates
    (104, 94, 10)
    """

    def __init__(self, frame: Frame, pace: Pace, faults: Faults, horizon: int | None = None) -> None:
        self._interval, self._pace, self.repairs = frame.interval, pace, faults.repair
        end = int(frame.ts[-1]) + frame.interval if len(frame) else 0
        self._script = _Script(frame, faults)
        self.tally, self.sealed = self._script.sealer.tally, self._script.sealed()
        self.repaired, self._late = self._script.repaired(), self._script.late_frame()
        self.end = self._end = max(horizon or 0, end)
        self._told: int | None = None

    def arrived(self, after: int, limit: int) -> Arrived:
        ts, script = self.sealed.ts, self._script
        first = int(np.searchsorted(ts, after, side="right"))
        reached = self._pace.reached(script.sealed_at[first - 1] if first else None, script.begin)
        due = bisect_right(script.sealed_at, reached)
        stop = min(first + limit, due)
        bars = self.sealed.rows(first, stop) if stop > first else None
        if stop < due:
            return Arrived(bars, int(ts[stop]), 0.0, self._late_ones(after, script.sealed_at[stop - 1]))
        late = self._late_ones(after, reached)
        if reached >= script.last:
            return Arrived(bars, self._end, NOTHING_MORE_S, late)
        # The end is not reached before the last late bar has come, so that a run does not end without it.
        through = min(script.through(reached), self._end - 1)
        return Arrived(bars, through, self._pace.wait_s(script.upcoming(reached), reached), late)

    def _late_ones(self, after: int, reached: float) -> Frame | None:
        """Return late bars that came since this feed was asked before; at first those around ``after``."""
        if self._told is None:
            self._told = bisect_right(self._script.late_at, after - _TOLD_AGAIN * self._interval)
        begin, self._told = self._told, max(self._told, bisect_right(self._script.late_at, reached))
        return self._late.rows(begin, self._told) if self._told > begin else None


class _Script:
    """Everything that will be sealed and late, with the moments."""

    def __init__(self, frame: Frame, faults: Faults) -> None:
        self._frame, self._grace = frame, faults.grace
        values = np.stack([*frame.columns.values()], axis=1).reshape(len(frame), -1)
        self.sealer = Sealer(frame.interval, faults.grace, partial=frame.symbols is not None)
        self._sealed: Bars = []
        self._late: Bars = []
        self.sealed_at: list[float] = []
        self.late_at: list[float] = []
        self._moments: list[float] = []
        self._throughs: list[int] = []
        empty = (math.nan,) * values.shape[1]
        for one in arrivals(frame.ts, frame.interval, faults):
            row = empty if one.is_nan else tuple(values[one.row].tolist())
            self.sealer.put(int(frame.ts[one.row]), row, one.at, closed=True)
            self._note(one.at)
        self.begin = self._moments[0] if self._moments else 0.0
        self.last = self._moments[-1] if self._moments else 0.0

    def _note(self, at: float) -> None:
        sealed, late = self.sealer.taken()
        self._sealed += sealed
        self._late += late
        self.sealed_at += [at] * len(sealed)
        self.late_at += [at] * len(late)
        self._moments.append(at)
        self._throughs.append(self.sealer.through or 0)

    def through(self, reached: float) -> int:
        """Return what is known at a moment: by the rows that came, or because time has passed."""
        k = bisect_right(self._moments, reached)
        passed = math.floor((reached - self._grace) / self._frame.interval) * self._frame.interval
        return max(passed, self._throughs[k - 1]) if k else passed

    def upcoming(self, reached: float) -> float:
        """Return when the next row comes or the next bucket is passed over."""
        k = bisect_right(self._moments, reached)
        interval = self._frame.interval
        passes = math.floor((reached - self._grace) / interval) * interval + interval + self._grace
        return min(self._moments[k], passes) if k < len(self._moments) else passes

    def sealed(self) -> Frame:
        """Return the bars as they were sealed."""
        return self._as_frame(self._sealed)

    def late_frame(self) -> Frame:
        """Return the late bars in the order in which they came."""
        return self._as_frame(self._late)

    def repaired(self) -> Frame:
        """Return the latest bar of each bucket."""
        return self._as_frame(sorted(dict([*self._sealed, *self._late]).items()))

    def _as_frame(self, bars: Sequence[Bar]) -> Frame:
        frame, names = self._frame, self._frame.fields
        width = next(iter(frame.columns.values())).shape[1]
        values = np.array([row for _, row in bars]).reshape(len(bars), len(names), width)
        ts = np.array([start for start, _ in bars], np.int64)
        columns = {name: np.ascontiguousarray(values[:, k]) for k, name in enumerate(names)}
        return Frame(ts, columns, frame.interval, frame.symbols)
