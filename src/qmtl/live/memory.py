"""What a machine remembers over a restart: never its roles, which come anew."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from qmtl.live.places import Places
from qmtl.live.repairs import Repairs
from qmtl.live.rows import Rows
from qmtl.live.sequence import Sequence
from qmtl.live.track import Reader
from qmtl.wire.records import Batch

#: So many of the last records of a node are kept, to be compared with what comes again.
_KEPT = 32


class Known(msgspec.Struct, frozen=True, array_like=True):
    """A sequence: its last bucket, and its last records under its epoch and watermark."""

    last: int
    through: int
    recent: Batch

    @classmethod
    def of(cls, sequence: Sequence) -> Known:
        """Return what is known of a node."""
        recent = sequence.recent.part(-_KEPT)
        return cls(sequence.last, sequence.through, recent.batch("", sequence.epoch, sequence.through))

    def sequence(self) -> Sequence:
        """Return it as it was."""
        made = Sequence(epoch=self.recent.epoch)
        made.emitted(Rows.of(self.recent), self.through)
        made.last = self.last
        return made


class Followed(msgspec.Struct, frozen=True, array_like=True):
    """A topic that was read up to a position."""

    position: int
    known: Known
    changes: list[tuple[int, int]]
    places: bytes

    @classmethod
    def of(cls, reader: Reader) -> Followed:
        """Return how far a reader is."""
        return cls(reader.position, Known.of(reader.sequence), reader.changes, reader.places.encoded())

    def reader(self, topic: str) -> Reader:
        """Return a reader that goes on there."""
        return Reader(topic, self.position, self.known.sequence(), list(self.changes), Places.of(self.places))


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """Repairs of a node."""

    revision: int
    rests: dict[str, int]
    made: list[Batch]

    @classmethod
    def of(cls, repairs: Repairs) -> Kept:
        """Return all that are remembered."""
        made = [rows.batch("", 0, 0, number, rests=rests) for number, rows, rests in repairs.made]
        return cls(repairs.revision, repairs.rests, made)

    def repairs(self) -> Repairs:
        """Return them as they were."""
        made = [(batch.revision, Rows.of(batch), batch.rests) for batch in self.made]
        return Repairs(self.revision, dict(self.rests), made)


class Memory(msgspec.Struct, frozen=True):
    """All of it, by node id.

    Attributes
    ----------
    topics : mapping to Followed
    private : mapping to Known
        Nodes without a topic.
    delivered, marks : mapping to int
        Last bucket that was delivered; everything that ends at or before was.
    waiting : mapping to list of Batch
        Records that were read, but not delivered.
    quarantined, faults : mapping to str, mapping to int
        Why a node stopped, and under which epoch.
    fields : mapping to tuple of str
        Names of the values.
    repairs : mapping to Kept
    revised : list of (node id, Batch)
        Revisions that were read, but not delivered.
    computed, read : mapping to int
        How many records were computed here, and how many read.
    """

    topics: Mapping[str, Followed]
    private: Mapping[str, Known]
    delivered: Mapping[str, int]
    marks: Mapping[str, int]
    waiting: Mapping[str, list[Batch]]
    quarantined: Mapping[str, str]
    faults: Mapping[str, int]
    fields: Mapping[str, tuple[str, ...]]
    repairs: Mapping[str, Kept]
    revised: list[tuple[str, Batch]]
    computed: Mapping[str, int]
    read: Mapping[str, int]

    def encoded(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def of(cls, encoded: bytes) -> Memory:
        """Return the memory of bytes."""
        return msgspec.msgpack.decode(encoded, type=cls)
