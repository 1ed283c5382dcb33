"""Columns thinned for a screen: no chart has more points than pixels, and no extreme is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Points of a line.
LINE = 2_000
#: Candles of a price chart.
CANDLES = 1_500


def line(ts: NDArray[np.int64], values: NDArray[np.float64], points: int = LINE) -> list[list[float]]:
    """Return ``[ts, value]`` pairs: all, or the lowest and the highest of each of ``points / 2`` stretches.

    Examples
    --------
    >>> import numpy as np
    >>> line(np.arange(6), np.array([0.0, 5.0, 1.0, 1.0, -3.0, 0.0]), points=4)
    [[0, 0.0], [1, 5.0], [3, 1.0], [4, -3.0]]
    """
    known = np.isfinite(values)
    ts, values = ts[known], values[known]
    if len(ts) > points:
        size = -(-len(ts) * 2 // points)
        rows = np.arange(-(-len(ts) // size))[:, None] * size + np.arange(size)
        blocks = values[np.minimum(rows, len(ts) - 1)]
        offset = rows[:, 0]
        kept = np.unique(
            np.minimum(np.concatenate([offset + blocks.argmin(1), offset + blocks.argmax(1)]), len(ts) - 1)
        )
        ts, values = ts[kept], values[kept]
    return [[int(t), float(f"{v:.7g}")] for t, v in zip(ts.tolist(), values.tolist(), strict=True)]


def candles(prices: pd.DataFrame, count: int = CANDLES) -> list[list[float]]:
    """Return ``[ts, open, high, low, close]`` of at most ``count`` candles, neighbours merged."""
    ts, size = prices.index.to_numpy(), -(-len(prices) // count)
    starts = np.arange(0, len(ts), size)
    ends = np.minimum(starts + size, len(ts)) - 1

    def column(name: str) -> Any:
        return prices[name if name in prices else "close"].to_numpy()

    high, low = np.maximum.reduceat(column("high"), starts), np.minimum.reduceat(column("low"), starts)
    columns = (ts[starts], column("open")[starts], high, low, column("close")[ends])
    return [[int(t), *map(float, rest)] for t, *rest in zip(*(c.tolist() for c in columns), strict=True)]


def plain_name(column: Any) -> str:
    """Return one text for a column, also of a universe, whose columns are pairs of field and symbol."""
    return ".".join(map(str, column)) if isinstance(column, tuple) else str(column)


def monthly(equity: pd.DataFrame) -> dict[int, dict[int, float]]:
    """Return the return of each UTC month by year; the first month starts from the first equity."""
    import pandas as pd

    times = pd.to_datetime(equity.index.to_numpy(), unit="s", utc=True)
    last = pd.Series(equity["equity"].to_numpy()).groupby([times.year, times.month]).last()
    before = last.shift(1, fill_value=equity["equity"].iloc[0])
    table: dict[int, dict[int, float]] = {}
    changes: dict[Any, float] = (last / before - 1).to_dict()
    for (year, month), change in changes.items():
        table.setdefault(int(year), {})[int(month)] = float(change)
    return table


def rolling_sharpe(daily: NDArray[np.float64], days: NDArray[np.int64], periods: int, width: int = 30) -> Any:
    """Return the Sharpe ratio of the last ``width`` daily returns, yearly, at each day."""
    if len(daily) < width:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(daily, width)
    deviation = windows.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return line(days[width - 1 :], windows.mean(axis=1) / deviation * np.sqrt(periods))
