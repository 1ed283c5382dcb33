"""Bars of a longer interval from bars of a shorter one, emitted when the longer bar is complete."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qmtl.graph.operator import operator

if TYPE_CHECKING:
    from qmtl.graph.expression import Field
    from qmtl.graph.node import Node
    from qmtl.graph.operator_node import OperatorNode


@operator(kind="resample", inputs=("open", "high", "low", "close"), outputs=("open", "high", "low", "close"))
def ohlc(w, p):
    """First open, highest high, lowest low and last close of the bars in each longer bar.

    A symbol's NaN bars are passed over; it is NaN only where it has no bar at all.
    """
    opened = high = low = close = math.nan
    for t in range(w.shape[1]):
        if math.isnan(w[3, t]):
            continue
        if math.isnan(opened):
            opened, high, low = w[0, t], w[1, t], w[2, t]
        high = max(high, w[1, t])
        low = min(low, w[2, t])
        close = w[3, t]
    return opened, high, low, close


@operator(kind="resample", inputs=("volume",), outputs=("value",))
def total(w, p):
    """Sum of the values in each longer bar; NaN values are passed over."""
    count, found = 0, 0.0
    for t in range(w.shape[1]):
        if not math.isnan(w[0, t]):
            found += w[0, t]
            count += 1
    return found if count > 0 else math.nan


@operator(kind="resample", inputs=("x",))
def last(w, p):
    """Last value that is not NaN in each longer bar."""
    found = math.nan
    for t in range(w.shape[1]):
        if not math.isnan(w[0, t]):
            found = w[0, t]
    return found


def resample(
    source: Node | Field, interval: int | str, *, name: str | None = None, tags: list[str] | None = None
) -> OperatorNode:
    """Build longer bars: of a stream its open, high, low and close, of a field its last value.

    Parameters
    ----------
    source : Node or Field
        A stream with ``open high low close``, or one field.
    interval : int or str
        Length of the longer bar, a multiple of the source's; for example ``"5m"``.

    Returns
    -------
    OperatorNode
        A node of the longer interval; a reader of a shorter one sees only complete bars.

    Examples
    --------
    >>> from qmtl.sdk import StreamInput
    >>> price = StreamInput(tags=["BTC"], interval="1m")
    >>> resample(price, "5m").outputs
    ('open', 'high', 'low', 'close')
    """
    from qmtl.graph.expression import Field

    if isinstance(source, Field) or (source.outputs is not None and len(source.outputs) == 1):
        return last(source, interval=interval, name=name, tags=tags)
    fields = (source[field] for field in ("open", "high", "low", "close"))
    return ohlc(*fields, interval=interval, name=name, tags=tags)
