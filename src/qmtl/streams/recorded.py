"""Recorded bars, played again at any speed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np

from qmtl.errors import UsageError
from qmtl.frame import Frame
from qmtl.streams.feed import Arrived, Feed

_SPEED = re.compile(r"(\d+(?:\.\d+)?)x")


def parse_speed(text: str) -> float | None:
    """Return how many times faster than the clock; None for as fast as it goes.

    Raises
    ------
    UsageError
        Neither ``max`` nor a positive number with ``x``.

    Examples
    --------
    >>> parse_speed("60x"), parse_speed("max")
    (60.0, None)
    """
    if text == "max":
        return None
    found = _SPEED.fullmatch(text)
    if found is None or not float(found[1]) > 0:
        raise UsageError(f"speed {text!r} is not understood", hint="max, or a multiple of real time: 1x, 60x")
    return float(found[1])


class Recorded(Feed):
    """Plays bars with the distances that they had, divided by the speed.

    Parameters
    ----------
    frame : Frame
        What was recorded.
    speed : float or None
        How many times faster than it happened; None for as fast as it goes.
    now : callable
        Seconds of a clock that never goes back.

    Examples
    --------
    >>> import numpy as np
    >>> from qmtl.frame import Frame
    >>> feed = Recorded(Frame(np.array([0, 60]), {"close": np.array([[1.0], [2.0]])}, 60), speed=None)
    >>> feed.arrived(after=0, limit=10).bars.ts.tolist(), feed.end
    ([60], 120)
    """

    def __init__(self, frame: Frame, speed: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._frame, self._speed, self._now = frame, speed, now
        self.end = int(frame.ts[-1]) + frame.interval if len(frame) else None
        self._next = -1
        self._began = (0.0, 0)

    def arrived(self, after: int, limit: int) -> Arrived:
        first = int(np.searchsorted(self._frame.ts, after, side="right"))
        due, wait_s = self._due(first)
        stop = min(first + limit, due)
        self._next = stop
        if stop <= first:
            return Arrived(wait_s=wait_s)
        ts = self._frame.ts[first:stop]
        bars = Frame(
            ts, {k: v[first:stop] for k, v in self._frame.columns.items()}, self._frame.interval, self._frame.symbols
        )
        return Arrived(bars, int(ts[-1]) + self._frame.interval)

    def _due(self, first: int) -> tuple[int, float]:
        """Return the position behind the bars that are due by now, and how long until the next."""
        if self._speed is None or first >= len(self._frame):
            return len(self._frame), 3600.0 if first >= len(self._frame) else 0.0
        now = self._now()
        if first != self._next:  # somebody else has played what is before: go on from here at the same pace
            self._began = (now, int(self._frame.ts[first]))
        at, bucket = self._began
        reached = bucket + (now - at) * self._speed
        due = int(np.searchsorted(self._frame.ts, reached, side="right"))
        if due > first:
            return due, 0.0
        return first, (int(self._frame.ts[first]) - reached) / self._speed
