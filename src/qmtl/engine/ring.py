"""The buffer behind windows: the last rows of one node, always contiguous in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Ring:
    """Bars of one node for its readers, newest last.

    Rows are written one after the other; at the end of the buffer the rows that a window still
    needs are mirrored to its start. So the last ``period`` rows are one slice, without a copy, and
    a row is moved at most once for every ``period`` rows written.

    Parameters
    ----------
    fields : sequence of str
        Field names.
    width : int
        Symbols S.
    period : int
        Rows that the longest window needs.
    burst : int
        Rows that may be written in one go.

    Attributes
    ----------
    values : float64[fields, length, S]
        Read-only for everybody but the ring.
    end : int
        Position after the newest row.
    count : int
        Rows ever written.
    """

    def __init__(self, fields: Sequence[str], width: int, period: int, burst: int = 1) -> None:
        self.fields, self.width, self.period = tuple(fields), width, period
        self._length = 2 * period + burst
        self._values = np.full((len(self.fields), self._length, width), np.nan)
        self._ts = np.zeros(self._length, np.int64)
        self.end = self.count = 0
        self.values, self.ts = _read_only(self._values), _read_only(self._ts)
        flat = [_read_only(self._values[k, :, 0]) if width == 1 else self.values[k] for k in range(len(self.fields))]
        self.columns: dict[str, Floats] = dict(zip(self.fields, flat, strict=True))

    def extend(self, ts: Ints, values: Sequence[Floats]) -> None:
        """Append rows: ``ts`` int64[n] and one float64[n, S] for each field."""
        n = len(ts)
        self._make_room(n)
        stop = self.end + n
        self._ts[self.end : stop] = ts
        for k, column in enumerate(values):
            self._values[k, self.end : stop] = column
        self.end, self.count = stop, self.count + n

    def append(self, ts: int, row: Any) -> None:
        """Append one row, float64[fields, S] or what broadcasts to it."""
        self._make_room(1)
        self._ts[self.end] = ts
        self._values[:, self.end] = row
        self.end += 1
        self.count += 1

    def _make_room(self, n: int) -> None:
        if self.end + n > self._length:
            keep = min(self.count, self.period)
            self._ts[:keep] = self._ts[self.end - keep : self.end]
            self._values[:, :keep] = self._values[:, self.end - keep : self.end]
            self.end = keep

    @property
    def resident_bytes(self) -> int:
        """Memory of the buffers, bytes."""
        return self._values.nbytes + self._ts.nbytes

    def snapshot(self) -> dict[str, Any]:
        """Return the rows that a window may still need, as plain data."""
        keep = min(self.count, self.period)
        rows = slice(self.end - keep, self.end)
        return {
            "fields": list(self.fields),
            "width": self.width,
            "count": self.count,
            "ts": self._ts[rows].tobytes(),
            "values": np.ascontiguousarray(self._values[:, rows]).tobytes(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over the rows of a snapshot."""
        ts = np.frombuffer(saved["ts"], np.int64)
        values = np.frombuffer(saved["values"], np.float64).reshape(len(self.fields), len(ts), self.width)
        self.end = self.count = 0
        self.extend(ts, list(values))
        self.count = saved["count"]


def _read_only(array: Any) -> Any:
    view = array.view()
    view.setflags(write=False)
    return view


class ObjectRing:
    """The last payloads of a node that emits whole frames or arrays, newest last."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.items: list[tuple[int, Any]] = []
        self.count = 0

    @property
    def end(self) -> int:
        """Position after the newest payload."""
        return len(self.items)

    def append(self, ts: int, payload: Any) -> None:
        """Append one payload; those that no window needs are dropped from time to time."""
        self.items.append((ts, payload))
        self.count += 1

    def trim(self) -> None:
        """Drop what no window needs; called between chunks."""
        del self.items[: max(0, len(self.items) - self.period)]
