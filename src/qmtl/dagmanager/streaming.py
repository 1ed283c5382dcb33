"""Answers of diffs in chunks: cut, numbered, acknowledged, resumable for a while. Pure but for the clock passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qmtl.graph.identity import crc32
from qmtl.wire.grpc import dagmanager_pb2 as pb
from qmtl.wire.messages import DiffAnswer

#: A chunk has at most so many items, and bytes.
ITEMS, BYTES = 100, 2**20
#: So many chunks are on their way without an acknowledgement.
WINDOW = 10
#: Answers that were not acknowledged in full are kept so long, in seconds, and so many.
KEPT_S, KEPT = 60.0, 256


def chunks(diff_id: str, answer: DiffAnswer) -> list[pb.DiffChunk]:
    """Cut an answer into numbered chunks; the last one has the summary.

    Examples
    --------
    >>> answer = DiffAnswer({str(k): "topic" for k in range(250)}, {}, None, 0, 0, 0)
    >>> [(chunk.seq, len(chunk.items)) for chunk in chunks("d", answer)]
    [(1, 100), (2, 100), (3, 50)]
    """
    made = [pb.DiffChunk(diff_id=diff_id, seq=seq, items=items) for seq, items in enumerate(_pieces(answer), 1)]
    made[-1].summary.CopyFrom(
        pb.DiffSummary(
            sentinel_id=answer.sentinel_id or "",
            new=answer.new,
            reused=answer.reused,
            buffering=answer.buffering,
            crc=answer.crc,
        )
    )
    return made


def _pieces(answer: DiffAnswer) -> Iterator[list[pb.DiffItem]]:
    piece: list[pb.DiffItem] = []
    size = 0
    for node_id, topic in answer.queue_map.items():
        item = pb.DiffItem(node_id=node_id, crc32=crc32(node_id), topic=topic, action=answer.actions.get(node_id, ""))
        if piece and (len(piece) == ITEMS or size + item.ByteSize() > BYTES):
            yield piece
            piece, size = [], 0
        piece.append(item)
        size += item.ByteSize() + 8
    yield piece


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    owner: str
    chunks: list[pb.DiffChunk]


class Sessions:
    """Answers that a client may come back for; ``now`` gives seconds. Bounded in number and in time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        self._expire()
        return len(self._kept)

    def keep(self, diff_id: str, owner: str, made: list[pb.DiffChunk]) -> None:
        """Keep an answer for its owner; the oldest goes when there are too many."""
        self._expire()
        while len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[diff_id] = _Kept(self._now() + KEPT_S, owner, made)

    def find(self, diff_id: str, owner: str) -> list[pb.DiffChunk] | None:
        """Return the chunks of an answer of this owner, if they are still kept."""
        self._expire()
        kept = self._kept.get(diff_id)
        return kept.chunks if kept is not None and kept.owner == owner else None

    def drop(self, diff_id: str) -> None:
        """Forget an answer that arrived."""
        self._kept.pop(diff_id, None)

    def _expire(self) -> None:
        now = self._now()
        for diff_id in [one for one, kept in self._kept.items() if kept.until <= now]:
            del self._kept[diff_id]
