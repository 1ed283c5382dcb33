"""Messages between SDK, Gateway and DAG manager, as plain structs."""

from __future__ import annotations

import zlib
from typing import Literal

import msgspec

RunType = Literal["backtest", "offline", "dry-run", "live"]

#: What people write, and what it means.
RUN_TYPES: dict[str, RunType] = {
    "backtest": "backtest",
    "offline": "offline",
    "dry-run": "dry-run",
    "dryrun": "dry-run",
    "paper": "dry-run",
    "live": "live",
}


class Sentinel(msgspec.Struct, frozen=True):
    """The version that a submission belongs to."""

    version: str
    commit_hash: str = ""
    release_tag: str = ""


class DiffRequest(msgspec.Struct, frozen=True):
    """Map the nodes of one strategy to queues.

    Attributes
    ----------
    strategy_id : str
        Who uses the queues from now on; the same request again changes nothing.
    run_type : str
        Simulated and real executions do not share trade queues.
    dag : bytes
        The DAG document, JSON.
    dry_run : bool
        Decide, and change nothing.
    """

    strategy_id: str
    run_type: RunType
    dag: bytes
    owner: str = ""
    sentinel: Sentinel | None = None
    dry_run: bool = False


class DiffAnswer(msgspec.Struct, frozen=True):
    """Where each node's bars are.

    Attributes
    ----------
    queue_map : dict of node id to topic
    actions : dict of node id to action
        ``new``, ``reuse``, ``produce`` (the queue was there without a producer) or ``buffer``.
    sentinel_id : str or None
    new, reused, buffering : int
        Nodes by action; ``produce`` counts as reused.
    """

    queue_map: dict[str, str]
    actions: dict[str, str]
    sentinel_id: str | None
    new: int
    reused: int
    buffering: int

    @property
    def crc(self) -> int:
        """crc32 over the sorted queue map: sender and receiver compare it."""
        return map_crc(self.queue_map)


def map_crc(queue_map: dict[str, str]) -> int:
    """Return the checksum of a queue map, whatever its order.

    Examples
    --------
    >>> map_crc({"a": "x", "b": "y"}) == map_crc({"b": "y", "a": "x"})
    True
    """
    return zlib.crc32("\n".join(f"{node}={topic}" for node, topic in sorted(queue_map.items())).encode())


class NodeInfo(msgspec.Struct, frozen=True):
    """A node that the world has."""

    node_id: str
    node_type: str
    interval: int
    period: int
    tags: list[str]
    inputs: list[str]
    topics: list[str]
    strategies: list[str]
    owner: str
    created_at: float


class QueueInfo(msgspec.Struct, frozen=True):
    """A queue, who fills it and how many strategies read it."""

    topic: str
    node_id: str
    node_type: str
    domain: str
    quality: str
    state: str
    interval: int
    tags: list[str]
    producer: str | None
    strategies: int
    pinned: bool
    created_at: float
    released_at: float | None


class QueueQuery(msgspec.Struct, frozen=True):
    """Which queues: by tags, and by interval in seconds where given."""

    tags: list[str] = []
    interval: int | None = None
    match: Literal["any", "all"] = "any"


class CleanupRequest(msgspec.Struct, frozen=True):
    """Collect garbage; with ``sentinel``, drop that version instead."""

    sentinel: str | None = None
    dry_run: bool = False


class RedoRequest(msgspec.Struct, frozen=True):
    """Map a document once more under a version, or take that back; ``owner`` is who asks."""

    version: str
    dag: bytes
    owner: str = ""
    rollback: bool = False
    dry_run: bool = False


class Redone(msgspec.Struct, frozen=True):
    """What a redo did: the answer of its diff, or the topics that a rollback released."""

    strategy_id: str
    queue_map: dict[str, str]
    actions: dict[str, str]
    released: list[str]


class QueueStats(msgspec.Struct, frozen=True):
    """A queue and what the broker says of its topic; ``records`` is an upper bound."""

    queue: QueueInfo
    exists: bool
    partitions: int = 0
    replication: int = 0
    retention_ms: int = 0
    records: int = 0


class Removal(msgspec.Struct, frozen=True):
    """One decision of the garbage collection and its reason; ``done`` says whether it was carried out."""

    subject: str
    action: Literal["drop", "archive", "keep"]
    reason: str
    done: bool = False
