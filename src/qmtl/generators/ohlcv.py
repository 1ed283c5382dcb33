"""Bars from a path of prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qmtl.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ohlcv_from_path(path: NDArray[np.float64], steps: int, *, activity: float = 1.0) -> dict[str, NDArray[np.float64]]:
    """Return open, high, low, close and volume of each so many steps of a path.

    Parameters
    ----------
    path : float64[bars * steps + 1]
        Prices at equal distances; each bar begins where the one before ends.
    steps : int
        Steps of a bar.
    activity : float
        Volume for each per mille that the price moves, up or down: who trades moves the price.

    Returns
    -------
    mapping of field to float64[bars]

    Raises
    ------
    UsageError
        The path is not a whole number of bars.

    Examples
    --------
    >>> import numpy as np
    >>> bars = ohlcv_from_path(np.array([10.0, 12.0, 11.0, 9.0, 10.0]), steps=2)
    >>> [bars[name].tolist() for name in ("open", "high", "low", "close")]
    [[10.0, 11.0], [12.0, 11.0], [10.0, 9.0], [11.0, 10.0]]
    """
    count, left = divmod(len(path) - 1, steps)
    if left or len(path) < 1:
        raise UsageError(
            f"a path of {len(path)} prices is not a whole number of bars of {steps} steps",
            hint="give bars * steps + 1 prices",
        )
    inner = path[:-1].reshape(count, steps)
    open_, close = inner[:, 0], path[steps::steps]
    moved = (np.abs(np.diff(path)) / path[:-1]).reshape(count, steps)
    return {
        "open": open_.copy(),
        "high": np.maximum(inner.max(axis=1, initial=0.0), close),
        "low": np.minimum(inner.min(axis=1, initial=np.inf), close),
        "close": close.copy(),
        "volume": activity * 1000.0 * moved.sum(axis=1),
    }
