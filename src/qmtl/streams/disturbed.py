"""Replay with faults: what a bad source sends, sealed. The same for everybody who asks, under one seed."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

import numpy as np

from qmtl.frame import Frame
from qmtl.streams.faults import Faults, arrivals
from qmtl.streams.feed import Arrived, Feed
from qmtl.streams.pace import Pace
from qmtl.streams.recorded import NOTHING_MORE_S
from qmtl.streams.seal import Sealer, Tally

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
    sealed, late : Frame
        The bars as they were sealed; and those that were late, in the order in which they came.
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
        self._interval, self._pace = frame.interval, pace
        self.repairs, self.fields = faults.repair, frame.fields
        self._script = _Script(frame, faults)
        self.tally, self.sealed, self.late = self._script.play()
        end = int(frame.ts[-1]) + frame.interval if len(frame) else 0
        self.end = self._end = max(horizon or 0, end)
        self._told: int | None = None

    @property
    def repaired(self) -> Frame:
        """The latest bar of each bucket: what the bars are in the end if late ones repair."""
        ts = np.concatenate([self.sealed.ts, self.late.ts])[::-1]
        rows = len(ts) - 1 - np.unique(ts, return_index=True)[1]
        columns = {k: np.concatenate([v, self.late.columns[k]])[rows] for k, v in self.sealed.columns.items()}
        return Frame(ts[::-1][rows], columns, self._interval, self.sealed.symbols)

    @property
    def problem(self) -> str:
        silent = self.silent_s()
        return f"no bar for {silent:.0f} s" if silent > 2 * self._interval else ""

    def silent_s(self) -> float:
        """Return the seconds, of the time of the data, since a row came."""
        return 0.0 if self._told is None else self._script.silent_s(self._pace.reached(None, self._script.begin))

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
        return self.late.rows(begin, self._told) if self._told > begin else None


class _Script:
    """What comes when, and what is known by then."""

    def __init__(self, frame: Frame, faults: Faults) -> None:
        self._frame, self._faults = frame, faults
        self.sealed_at, self.late_at = array("d"), array("d")
        self._moments, self._throughs = array("d"), array("q")
        self.begin = self.last = 0.0

    def play(self) -> tuple[Tally, Frame, Frame]:
        """Seal everything that comes; return what became of it, the sealed bars and the late ones."""
        frame, faults = self._frame, self._faults
        values = np.stack([*frame.columns.values()], axis=1).reshape(len(frame), -1)
        sealer = Sealer(frame.interval, faults.grace, partial=frame.symbols is not None)
        empty = (math.nan,) * values.shape[1]
        sealed_rows, late_rows = array("q"), array("q")
        for one in arrivals(frame.ts, frame.interval, faults):
            row = empty if one.is_nan else tuple(values[one.row].tolist())
            sealer.put(int(frame.ts[one.row]), row, one.at, closed=True)
            sealed, late = sealer.taken()
            sealed_rows.extend([one.row] * len(sealed))  # every row is closed, so only itself can be sealed by it
            late_rows.extend([one.row] * len(late))
            self.sealed_at.extend([one.at] * len(sealed))
            self.late_at.extend([one.at] * len(late))
            self._moments.append(one.at)
            self._throughs.append(sealer.through or 0)
        if self._moments:
            self.begin, self.last = self._moments[0], self._moments[-1]
        return sealer.tally, self._picked(sealed_rows), self._picked(late_rows)

    def _picked(self, rows: array[int]) -> Frame:
        frame, at = self._frame, np.array(rows, np.int64)
        return Frame(frame.ts[at], {k: v[at] for k, v in frame.columns.items()}, frame.interval, frame.symbols)

    def silent_s(self, reached: float) -> float:
        """Return how long before a moment a row has come; 0 when no more comes."""
        k = bisect_right(self._moments, reached)
        return reached - self._moments[k - 1] if 0 < k < len(self._moments) else 0.0

    def through(self, reached: float) -> int:
        """Return what is known at a moment: by the rows that came, or because time has passed."""
        k = bisect_right(self._moments, reached)
        passed = math.floor((reached - self._faults.grace) / self._frame.interval) * self._frame.interval
        return max(passed, self._throughs[k - 1]) if k else passed

    def upcoming(self, reached: float) -> float:
        """Return when the next row comes or the next bucket is passed over."""
        k = bisect_right(self._moments, reached)
        interval = self._frame.interval
        passes = math.floor((reached - self._faults.grace) / interval) * interval + interval + self._faults.grace
        return min(self._moments[k], passes) if k < len(self._moments) else passes
