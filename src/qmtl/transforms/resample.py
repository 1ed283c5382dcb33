"""Bars of a longer interval from bars of a shorter one, emitted when the longer bar is complete."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qmtl.graph.operator import operator

if TYPE_CHECKING:
    from qmtl.graph.node import Field, Node, OperatorNode


@operator(kind="resample", inputs=("open", "high", "low", "close"), outputs=("open", "high", "low", "close"))
def ohlc(w, p, out):
    """First open, highest high, lowest low and last close of the bars in each longer bar.

    A symbol's NaN bars are passed over; it is NaN only where it has no bar at all.
    """
    for k in range(4):
        out[k] = math.nan
    for t in range(w.shape[1]):
        if math.isnan(w[3, t]):
            continue
        if math.isnan(out[0]):
            out[0] = w[0, t]
            out[1] = w[1, t]
            out[2] = w[2, t]
        out[1] = max(out[1], w[1, t])
        out[2] = min(out[2], w[2, t])
        out[3] = w[3, t]


@operator(kind="resample", inputs=("volume",), outputs=("value",))
def total(w, p, out):
    """Sum of the values in each longer bar; NaN values are passed over."""
    count = 0
    out[0] = 0.0
    for t in range(w.shape[1]):
        if not math.isnan(w[0, t]):
            out[0] += w[0, t]
            count += 1
    if count == 0:
        out[0] = math.nan


@operator(kind="resample", inputs=("x",))
def last(w, p, out):
    """Last value that is not NaN in each longer bar."""
    out[0] = math.nan
    for t in range(w.shape[1]):
        if not math.isnan(w[0, t]):
            out[0] = w[0, t]


def resample(source: Node | Field, interval: int | str, *, name: str | None = None, tags: list[str] | None = None) -> OperatorNode:
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
    from qmtl.graph.node import Field

    if isinstance(source, Field) or (source.outputs is not None and len(source.outputs) == 1):
        return last(source, interval=interval, name=name, tags=tags)
    fields = (source[field] for field in ("open", "high", "low", "close"))
    return ohlc(*fields, interval=interval, name=name, tags=tags)
