"""A generated market: bars of any interval and span, as a frame or as a history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qmtl.errors import UsageError
from qmtl.frame import Frame
from qmtl.generators.ohlcv import ohlcv_from_path
from qmtl.interval import FOREVER, Span, format_interval, format_time

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    #: Prices at the steps ``first … last``, both included, counted from 1970.
    Path = Callable[[int, int], NDArray[np.float64]]

#: Bars are made in parts of so many steps, so that memory does not grow with the span.
_PART = 1 << 20


@dataclass(frozen=True)
class Market:
    """Bars of a path. It is a history: a back-test takes it as ``data={"price": market}``, and so does a live run.

    Parameters
    ----------
    path : callable
        Prices at steps.
    start : int
        First moment, seconds UTC.
    end : int or None
        Where it ends; None for never.
    step : int
        Seconds between two prices; intervals are multiples of it.
    """

    path: Path
    start: int
    end: int | None
    step: int

    def bars(self, interval: int, span: Span) -> Frame:
        """Return the bars of the buckets that lie wholly in the market and start in the span.

        Raises
        ------
        UsageError
            The interval is not a multiple of the step, or nothing ends the span.
        """
        if interval % self.step:
            raise UsageError(
                f"bars of {format_interval(interval)} cannot be made of steps of {self.step} s",
                hint="give step= a divisor of the interval",
            )
        last = FOREVER if self.end is None else self.end - interval + 1
        buckets = Span(self.start, max(self.start, last)).intersect(span).buckets(interval)
        if buckets.stop >= FOREVER:
            raise UsageError(
                f"a generated market has no end, and was asked for all from {format_time(span.start)}",
                hint="give it end=, or the run an end time",
            )
        return self._made(buckets, interval)

    def _made(self, buckets: range, interval: int) -> Frame:
        steps, each = interval // self.step, max(1, _PART // (interval // self.step))
        parts = [self._part(buckets[k : k + each], steps) for k in range(0, len(buckets), each)] or [
            ohlcv_from_path(np.ones(1), steps)
        ]
        columns = {name: np.concatenate([part[name] for part in parts])[:, None] for name in parts[0]}
        return Frame(np.asarray(buckets, np.int64), columns, interval)

    def _part(self, buckets: range, steps: int) -> dict[str, NDArray[np.float64]]:
        first = buckets[0] // self.step
        return ohlcv_from_path(self.path(first, first + len(buckets) * steps), steps)

    async def fetch(self, start: int, end: int, *, node_id: str, interval: int) -> pd.DataFrame:  # noqa: ARG002
        """Return the bars whose buckets start in ``[start, end)``, as a history does."""
        return self.bars(interval, Span(start, end)).to_pandas().reset_index()

    async def coverage(self, *, node_id: str, interval: int) -> list[tuple[int, int]]:  # noqa: ARG002
        """Return the one span that there is."""
        return [(self.start, FOREVER if self.end is None else self.end)]
