"""From what a topic holds to what was really emitted: each bucket once, in order. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np

from qmtl.live.rows import Rows
from qmtl.wire.records import Batch

#: Before every bucket.
NONE = -(1 << 62)
#: So many of the last records are remembered, to be compared with what comes again.
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Violation:
    """One bucket was emitted twice, with different values: a node is not deterministic, or its code differs."""

    bucket: int
    fields: tuple[str, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]


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
    """

    epoch: int = 0
    last: int = NONE
    through: int = NONE
    voided: int = 0
    repeated: int = 0
    violation: Violation | None = None
    _recent: OrderedDict[int, tuple[tuple[str, ...], bytes]] = field(default_factory=OrderedDict)

    def take(self, batch: Batch) -> Rows | None:
        """Take the next batch of the topic and return its new records, if there are any."""
        if batch.epoch < self.epoch:
            self.voided += len(batch)
            return None
        self.epoch = batch.epoch
        if batch.watermark is None:
            return None
        rows = Rows.of(batch)
        fresh = rows.after(self.last) if len(rows) else rows
        self.compare(rows.part(0, len(rows) - len(fresh)))
        self.emitted(fresh, batch.watermark)
        return fresh if len(fresh) else None

    def copy(self) -> Sequence:
        """Return the same knowledge, to go on with apart from this one."""
        return replace(self, _recent=self._recent.copy())

    def emitted(self, fresh: Rows, through: int) -> None:
        """Note records that follow what is known, and how far they go."""
        self.through = max(self.through, through)
        if not len(fresh):
            return
        self.last = int(fresh.ts[-1])
        for k in range(max(0, len(fresh) - _REMEMBERED), len(fresh)):
            self._recent[int(fresh.ts[k])] = (fresh.fields, fresh.row(k))
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def compare(self, again: Rows) -> None:
        """Note records that were emitted before; the first that differs is a violation."""
        self.repeated += len(again)
        for k, bucket in enumerate(again.ts[-_REMEMBERED:].tolist(), max(0, len(again) - _REMEMBERED)):
            known = self._recent.get(bucket)
            if known is not None and known != (again.fields, again.row(k)) and self.violation is None:
                first, second = np.frombuffer(known[1]), again.values[:, k].ravel()
                self.violation = Violation(bucket, again.fields, tuple(first.tolist()), tuple(second.tolist()))
