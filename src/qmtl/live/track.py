"""Reading topics: on and on behind the newest record, or once more from an older one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE, Sequence
from qmtl.live.source import Source
from qmtl.wire.records import Batch


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
    """

    topic: str
    position: int = 0
    sequence: Sequence = field(default_factory=Sequence)


@dataclass(slots=True)
class Replay:
    """Reads records once more that are known already, for an engine that begins anew.

    Attributes
    ----------
    begin : int
        Bucket from which on; the position is sought while it is None.
    until : int
        Position before which the reader has been, or NONE where this runner writes the topic itself.
    last : int
        The last bucket that has to come before the replay is over.
    through : int
        How far the records are known to be complete, seconds UTC.
    """

    topic: str
    begin: int
    until: int
    last: int
    through: int
    position: int | None = None
    seen: int = NONE

    @property
    def is_over(self) -> bool:
        """Whether everything known has been read again."""
        return self.position is not None and self.position >= self.until and self.seen >= self.last

    def take(self, batch: Batch, source: Source) -> None:
        """Put the records of a batch, each bucket once, up to what is known."""
        rows = Rows.of(batch).after(self.seen)
        rows = rows.part(0, len(rows) - len(rows.after(self.last)))
        if len(rows):
            self.seen = int(rows.ts[-1])
            source.put(rows, min(self.through, self.seen + source.interval))


def is_fence(batch: Batch, epoch: int) -> bool:
    """Whether a batch is the fence of an epoch."""
    return batch.watermark is None and batch.epoch == epoch and not batch.fault
