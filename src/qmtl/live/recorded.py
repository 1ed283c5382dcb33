"""Bars that a runner holds itself, as records, and against those of a topic."""

from __future__ import annotations

import numpy as np

from qmtl.errors import DataFormatError
from qmtl.frame import Frame
from qmtl.interval import format_time
from qmtl.live.rows import Rows


def of_frame(frame: Frame) -> Rows:
    """Return bars as records: fields in the order of their names, whoever has them."""
    return Rows.made(frame.ts, {name: frame.columns[name] for name in sorted(frame.columns)})


def check(frame: Frame, rows: Rows, label: str) -> None:
    """Compare what the topic of a stream says with what is held of it.

    Raises
    ------
    DataFormatError
        They are not the same.
    """
    differs = _differing(frame, rows)
    if differs is not None:
        raise DataFormatError(
            f"stream {label!r} has other bars in its queue than here, the first at {format_time(differs)}",
            hint="another runner feeds this stream with other data: tell them apart by tags= or source=, "
            "or use a Gateway of your own",
        )


def _differing(frame: Frame, rows: Rows) -> int | None:
    """Return the first bucket that both have with different bits."""
    at = np.minimum(frame.ts.searchsorted(rows.ts), len(frame) - 1)
    both = frame.ts[at] == rows.ts
    for name, column in zip(rows.fields, rows.values, strict=True):
        if name in frame.columns:
            other = np.ascontiguousarray(frame.columns[name][at]).view(np.int64)
            differs = both & (other != np.ascontiguousarray(column).view(np.int64)).any(axis=1)
            if differs.any():
                return int(rows.ts[int(np.argmax(differs))])
    return None
