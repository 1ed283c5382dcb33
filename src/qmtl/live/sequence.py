"""From what a topic holds to what was really emitted: each bucket once, in order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qmtl.live.recent import Recent
from qmtl.live.rows import Rows
from qmtl.wire.records import Batch

#: Before every bucket.
NONE = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Violation:
    """One bucket was emitted twice, with different values: a node is not deterministic, or its code differs."""

    bucket: int
    first: dict[str, Any]
    second: dict[str, Any]


@dataclass(slots=True)
class Sequence:
    """What is known of one node's records.

    At-least-once delivery becomes exactly-once: records of an older epoch are void, a bucket that comes again is
    compared and dropped.

    Attributes
    ----------
    epoch : int
        Newest that was seen.
    last : int
        Last bucket that was emitted.
    through : int
        Everything that ends at or before it was seen, seconds UTC.
    voided, repeated : int
        Records dropped, by reason.
    violation : Violation, optional
        The first.
    """

    epoch: int = 0
    last: int = NONE
    through: int = NONE
    voided: int = 0
    repeated: int = 0
    violation: Violation | None = None
    _recent: Recent = field(default_factory=Recent)

    def take(self, batch: Batch) -> Rows | None:
        """Take the next batch of the topic and return its new records, if there are any."""
        if batch.epoch < self.epoch:
            self.voided += len(batch)
            return None
        self.epoch = batch.epoch
        if batch.watermark is None or batch.revision:
            return None
        if not batch.buckets:
            self.through = max(self.through, batch.watermark)
            return None
        rows = Rows.of(batch)
        fresh = rows.after(self.last)
        if fresh is not rows:
            self.compare(rows.part(0, len(rows) - len(fresh)))
        self.emitted(fresh, batch.watermark)
        return fresh if len(fresh) else None

    def copy(self) -> Sequence:
        """Return the same knowledge, to go on with apart from this one."""
        return replace(self, violation=None, _recent=self._recent.copy())

    def emitted(self, fresh: Rows, through: int) -> None:
        """Note records that follow what is known, and how far they go."""
        self.through = max(self.through, through)
        if len(fresh):
            self.last = fresh.last
            self._recent.add(fresh)

    def compare(self, again: Rows) -> None:
        """Note records that were emitted before; the first that differs is a violation."""
        if not len(again):
            return
        self.repeated += len(again)
        if self.violation is None:
            self.violation = difference(self._recent.rows(), again)

    @property
    def recent(self) -> Rows:
        """The last records that are remembered."""
        return self._recent.rows()


def difference(first: Rows, second: Rows) -> Violation | None:
    """Return the first bucket that both have with different bits."""
    _, ours, theirs = np.intersect1d(first.ts, second.ts, assume_unique=True, return_indices=True)
    for k, j in zip(ours.tolist(), theirs.tolist(), strict=True):
        if first.fields != second.fields or first.row(k) != second.row(j):
            return Violation(int(first.ts[k]), first.record(k), second.record(j))
    return None
