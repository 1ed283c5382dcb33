"""What travels through topics: batches of one node's records, as columns."""

from __future__ import annotations

import struct

import msgspec


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive records of one node, and how far its producer has come.

    Attributes
    ----------
    node_id : str
        Whose records.
    epoch : int
        Grows whenever the node gets another producer; records of an older epoch than one seen before are void.
    watermark : int or None
        Every bucket that ends at or before it is in the topic up to here, seconds UTC. None in a *fence*: the
        batch without records by which a new producer voids whatever its predecessor may still write.
    fields : tuple of str
        Names of the values.
    width : int
        Symbols S.
    buckets : bytes
        Bucket starts, int64[n] little-endian, strictly growing.
    values : bytes
        float64[fields, n, S] little-endian; empty where records are whole payloads.
    payloads : tuple of bytes
        One Arrow stream for each bucket, where a node emits whole frames.
    revision : int
        0 for what was sealed first, more for a repair of it.
    trace : str
        W3C trace context of the producer.
    fault : str
        Why the node is quarantined: nothing more comes until a producer with a newer epoch takes over.
    rests : dict of stream id to int
        With a revision above 0: the last revision of each stream that all of the node's records take into account
        from here on. Without fields, the records of the buckets are taken back.

    Examples
    --------
    >>> import struct
    >>> Batch("ab", 1, 120, ("value",), 1, struct.pack("<2q", 0, 60), struct.pack("<2d", 1.5, 2.0)).span
    (0, 60)
    """

    node_id: str
    epoch: int
    watermark: int | None = None
    fields: tuple[str, ...] = ()
    width: int = 1
    buckets: bytes = b""
    values: bytes = b""
    payloads: tuple[bytes, ...] = ()
    revision: int = 0
    trace: str = ""
    fault: str = ""
    rests: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.buckets) // 8

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last bucket, or None without records."""
        if not self.buckets:
            return None
        first, last = struct.unpack_from("<q", self.buckets)[0], struct.unpack_from("<q", self.buckets, -8)[0]
        return first, last


_decoder = msgspec.msgpack.Decoder(Batch)


def encode(batch: Batch) -> bytes:
    """Return a batch as bytes."""
    return msgspec.msgpack.encode(batch)


def decode(raw: bytes) -> Batch:
    """Return the batch of bytes; raises :class:`msgspec.DecodeError` or a subclass for anything else."""
    return _decoder.decode(raw)
