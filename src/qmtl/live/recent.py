"""The last records of one node, as bytes: no object for each that a garbage collector has to visit."""

from __future__ import annotations

import numpy as np

from qmtl.live.rows import Rows

#: So many are remembered, to be compared with what comes again.
REMEMBERED = 256
#: Bytes of a number.
_SIZE = 8
#: What is older is dropped when so many bytes of buckets are there.
_FULL = (REMEMBERED + 64) * _SIZE


class Recent:
    """Remembers records that follow each other; those of other fields or symbols begin anew."""

    __slots__ = ("_buckets", "_fields", "_record", "_values", "_width")

    def __init__(self) -> None:
        self._fields: tuple[str, ...] = ()
        self._width, self._record = 1, 0
        #: Record after record: numbers of one bucket are side by side.
        self._buckets, self._values = bytearray(), bytearray()

    def add(self, rows: Rows) -> None:
        """Take the next records; mostly there is one."""
        count = len(rows)
        rows = rows if count <= REMEMBERED else rows.part(-REMEMBERED)
        ordered = rows.values if count == 1 else rows.values.swapaxes(0, 1)
        buckets, values = rows.ts.tobytes(), ordered.tobytes()
        if rows.fields != self._fields or len(values) * _SIZE != len(buckets) * self._record:
            self._fields, self._width = rows.fields, rows.values.shape[2]
            self._record = len(values) * _SIZE // len(buckets)
            self._buckets, self._values = bytearray(), bytearray()
        self._buckets += buckets
        self._values += values
        if len(self._buckets) > _FULL:
            del self._buckets[: -REMEMBERED * _SIZE]
            del self._values[: -REMEMBERED * self._record]

    def rows(self) -> Rows:
        """Return them; a copy."""
        if not self._buckets:
            return Rows.none()
        ts = np.frombuffer(bytes(self._buckets[-REMEMBERED * _SIZE :]), np.int64)
        values = np.frombuffer(bytes(self._values[-REMEMBERED * self._record :]))
        return Rows(ts, self._fields, values.reshape(len(ts), len(self._fields), self._width).swapaxes(0, 1))

    def copy(self) -> Recent:
        """Return the same memory, to go on with apart from this one."""
        other = Recent()
        other._fields, other._width, other._record = self._fields, self._width, self._record
        other._buckets, other._values = self._buckets.copy(), self._values.copy()
        return other
