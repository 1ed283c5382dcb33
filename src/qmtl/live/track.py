"""Reading topics: on and on behind the newest record, or once more from an older one. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from qmtl.live.places import Places
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE, Sequence
from qmtl.ports.record_log import Entry
from qmtl.wire.records import Batch

#: So many changes of the producer are remembered for those who read again.
_CHANGES = 1024


@dataclass(slots=True)
class Reader:
    """Follows a topic from its beginning, without a break: so it knows which records are void.

    Attributes
    ----------
    topic : str
    position : int
        Where reading goes on.
    sequence : Sequence
        What was emitted up to there.
    changes : list of (position, epoch)
        Behind which batches a newer epoch rules.
    places : Places
        Where records are, for those who read again.
    """

    topic: str
    position: int = 0
    sequence: Sequence = field(default_factory=Sequence)
    changes: list[tuple[int, int]] = field(default_factory=list)
    places: Places = field(default_factory=Places)

    def take(self, entry: Entry) -> Rows | None:
        """Take the next entry and return its new records, if there are any."""
        before, self.position = self.position, entry.next
        if entry.batch.epoch > self.sequence.epoch:
            self.changes = [*self.changes[-_CHANGES:], (entry.next, entry.batch.epoch)]
        rows = self.sequence.take(entry.batch)
        if rows is not None:
            self.places.add(before, rows.first)
        return rows

    def epoch_at(self, position: int) -> int:
        """Return the epoch that rules what lies behind a position."""
        k = bisect_right(self.changes, position, key=lambda change: change[0])
        return self.changes[k - 1][1] if k else 0


@dataclass(slots=True)
class Replay:
    """Reads records once more that are known already, for an engine that begins anew.

    Attributes
    ----------
    reader : Reader
        Who has read them before.
    begin : int
        Bucket from which on.
    until : int
        Position before which the reader has been, or NONE where this runner writes the topic itself.
    last : int
        The last bucket that is known.
    through : int
        How far the records are known to be complete, seconds UTC.
    """

    reader: Reader
    begin: int
    until: int
    last: int
    through: int
    position: int = field(init=False)
    epoch: int = field(init=False)
    seen: int = NONE

    def __post_init__(self) -> None:
        self.position = self.reader.places.before(self.begin)
        self.epoch = self.reader.epoch_at(self.position)

    @property
    def is_over(self) -> bool:
        """Whether everything known has been read again."""
        return self.seen >= self.last if self.until == NONE else self.position >= self.until

    def take(self, entry: Entry) -> Rows:
        """Return the records of a batch, each bucket once, up to what is known."""
        self.position = entry.next
        if entry.batch.epoch < self.epoch:
            return Rows.none()
        self.epoch = entry.batch.epoch
        if entry.batch.revision:
            return Rows.none()
        rows = Rows.of(entry.batch).after(self.seen)
        rows = rows.part(0, len(rows) - len(rows.after(self.last)))
        if len(rows):
            self.seen = rows.last
        return rows


def is_fence(batch: Batch, epoch: int) -> bool:
    """Whether a batch is the fence of an epoch."""
    return batch.watermark is None and batch.epoch == epoch and not batch.fault
