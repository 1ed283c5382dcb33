"""Records of one node as columns, and as batches of a topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from qmtl.wire.records import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


class Rows(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Consecutive records of one node; no cycle can go through them.

    Attributes
    ----------
    ts : int64[n]
        Bucket starts, strictly growing, seconds UTC.
    fields : tuple of str
        Names of the values.
    values : float64[fields, n, S]
    """

    ts: Ints
    fields: tuple[str, ...]
    values: Floats

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def first(self) -> int:
        """Bucket of the first record."""
        return self.ts.item(0)

    @property
    def last(self) -> int:
        """Bucket of the last record."""
        return self.ts.item(-1)

    @classmethod
    def of(cls, batch: Batch) -> Rows:
        """Return the records of a batch; views, no copies."""
        ts = np.frombuffer(batch.buckets, "<i8")
        values = np.frombuffer(batch.values, "<f8").reshape(len(batch.fields), len(ts), batch.width)
        return cls(ts, batch.fields, values)

    @classmethod
    def none(cls) -> Rows:
        """Return no records."""
        return _NONE

    @classmethod
    def made(cls, ts: Ints, columns: dict[str, Floats]) -> Rows:
        """Return records from columns float64[n, S]."""
        values = np.stack([*columns.values()]) if columns else np.zeros((0, len(ts), 1))
        return cls(ts, tuple(columns), values)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return parts of equal fields as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.ts for part in parts]),
            parts[0].fields,
            np.concatenate([part.values for part in parts], axis=1),
        )

    def batch(
        self,
        node_id: str,
        epoch: int,
        watermark: int,
        revision: int = 0,
        trace: str = "",
        rests: dict[str, int] | None = None,
    ) -> Batch:
        """Return the records as they travel."""
        ts, values = _wired(self.ts, _BUCKETS), _wired(self.values, _VALUES)
        width = self.values.shape[2]
        return Batch(node_id, epoch, watermark, self.fields, width, ts, values, (), revision, trace, "", rests or {})

    def part(self, start: int | None, stop: int | None = None) -> Rows:
        """Return the records at positions ``[start, stop)``; views."""
        return Rows(self.ts[start:stop], self.fields, self.values[:, start:stop])

    def after(self, bucket: int) -> Rows:
        """Return the records of later buckets: mostly all of them."""
        if not len(self.ts) or self.ts.item(0) > bucket:
            return self
        return self.part(int(np.searchsorted(self.ts, bucket, side="right")))

    def between(self, low: int, high: int) -> Rows:
        """Return the records of buckets in ``(low, high]``; views."""
        start, stop = np.searchsorted(self.ts, (low, high), side="right")
        return self.part(int(start), int(stop))

    def repaired(self, repair: Rows) -> Rows:
        """Return records with those of a repair in their places; a repair without fields takes records back."""
        rest = self.without(repair.ts)
        if not repair.fields or not len(repair):
            return rest
        if not len(rest):
            return repair
        order = np.argsort(np.concatenate([rest.ts, repair.ts]), kind="stable")
        both = Rows.joined([rest, repair])
        return Rows(both.ts[order], both.fields, both.values[:, order])

    def without(self, buckets: Ints) -> Rows:
        """Return the records of other buckets than these."""
        return self._picked(np.flatnonzero(~np.isin(self.ts, buckets)))

    def unlike(self, others: Rows) -> Rows:
        """Return the records that others do not hold with the same bits."""
        _, ours, theirs = np.intersect1d(self.ts, others.ts, assume_unique=True, return_indices=True)
        same = [k for k, j in zip(ours.tolist(), theirs.tolist(), strict=True) if self.row(k) == others.row(j)]
        return self._picked(np.setdiff1d(np.arange(len(self)), same))

    def newest(self) -> Rows:
        """Return records that came in any order as consecutive ones: the last that came of each bucket."""
        _, back = np.unique(self.ts[::-1], return_index=True)
        return self._picked(len(self) - 1 - back)

    def _picked(self, positions: Ints) -> Rows:
        return Rows(self.ts[positions], self.fields, self.values[:, positions])

    def ending(self, by: int, interval: int) -> tuple[Rows, Rows]:
        """Return the records of buckets that end at or before a moment, and the others, both in their order."""
        ends = self.ts + interval <= by
        return self._picked(np.flatnonzero(ends)), self._picked(np.flatnonzero(~ends))

    def record(self, position: int) -> dict[str, Any]:
        """Return one record for people: field to number, or to a number for each symbol."""
        one = self.values[:, position]
        return {name: v[0] if len(v) == 1 else v for name, v in zip(self.fields, one.tolist(), strict=True)}

    def row(self, position: int) -> bytes:
        """Return the bits of one record; equal records have equal bits."""
        return self.values[:, position].tobytes()


def _wired(array: NDArray[Any], kind: np.dtype[Any]) -> bytes:
    """Return numbers as they travel; on most machines they are so already."""
    return (array if array.dtype is kind else array.astype(kind)).tobytes()


_BUCKETS, _VALUES = np.dtype("<i8"), np.dtype("<f8")
_NONE = Rows(np.zeros(0, np.int64), (), np.zeros((0, 0, 1)))
