"""What a run goes on from after a crash."""

from __future__ import annotations

import msgspec


class Checkpoint(msgspec.Struct, frozen=True):
    """State of a runner between two steps.

    Attributes
    ----------
    machine : bytes or None
        Snapshot of the machine: offsets of topics and what was seen of each node; None at the beginning.
    papers : dict of strategy id to bytes
        Snapshots of accounts.
    through : int or None
        Everything that ends at or before it was delivered, seconds UTC.
    """

    machine: bytes | None = None
    papers: dict[str, bytes] = {}
    through: int | None = None

    @classmethod
    def of(cls, encoded: bytes | None) -> Checkpoint:
        """Return the checkpoint of bytes, or the beginning."""
        return cls() if encoded is None else msgspec.msgpack.decode(encoded, type=cls)

    def encoded(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode(self)
