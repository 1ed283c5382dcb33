"""How fast time goes in a replay: one pace for all feeds of a run, so that they stay together."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from qmtl.errors import UsageError

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


class Pace:
    """The time of the data, which goes on with the clock.

    Parameters
    ----------
    speed : float or None
        How many times faster than the clock; None for as fast as it goes.
    now : callable
        Seconds of a clock that never goes back.
    begin : int, optional
        Time of the data when it is asked for first, seconds UTC; by default the end of the first bar.

    Examples
    --------
    >>> pace = Pace(60.0, now=lambda: 5.0, begin=600)
    >>> pace.reached(None, 60), pace.reached(1200, 60), pace.wait_s(1260, 1200)
    (600.0, 1200, 1.0)
    """

    def __init__(
        self, speed: float | None, now: Callable[[], float] = time.monotonic, begin: int | None = None
    ) -> None:
        self._speed, self._now, self._begin = speed, now, begin
        self._began: tuple[float, float] | None = None

    def reached(self, proven: float | None, first: float) -> float:
        """Return the time of the data now, seconds UTC; infinite if it goes as fast as it can.

        Parameters
        ----------
        proven : float or None
            It is at least this late: somebody has what comes then.
        first : float
            When the first bar comes, where time begins if nothing else says so.
        """
        if self._speed is None:
            return math.inf
        now = self._now()
        if self._began is None:
            self._began = (now, first if self._begin is None else self._begin)
        at, moment = self._began
        reached = moment + (now - at) * self._speed
        if proven is not None and proven > reached:
            self._began = (now, proven)
            return proven
        return reached

    def wait_s(self, until: float, reached: float) -> float:
        """Return the seconds of the clock from a time of the data to a later one."""
        return 0.0 if self._speed is None else max(0.0, (until - reached) / self._speed)
