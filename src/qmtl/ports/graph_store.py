"""The global graph: nodes, their queues, who uses them, versions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from qmtl.errors import ServiceError
from qmtl.graph.identity import Parts
from qmtl.ports.dependency import Dependency
from qmtl.wire.messages import NodeInfo, QueueInfo, QueueQuery, Sentinel

PENDING, READY, DROPPING = "pending", "ready", "dropping"


class StoredNode(msgspec.Struct, frozen=True):
    """A node as the graph keeps it; never changed once written."""

    node_id: str
    node_type: str
    code_hash: str
    config_hash: str
    schema_hash: str
    schema: dict[str, str] | None
    interval: int
    period: int
    inputs: tuple[str, ...]
    tags: tuple[str, ...]
    owner: str
    created_at: float


class StoredQueue(msgspec.Struct, frozen=True):
    """A topic. ``domain`` is empty where everybody shares, else whom it is for."""

    topic: str
    node_id: str
    domain: str
    quality: str
    interval: int
    tags: tuple[str, ...]
    state: str
    producer: str | None
    created_by: str
    created_at: float
    released_at: float | None = None


class Emission(msgspec.Struct, frozen=True):
    """Node and domain write to a topic; ``buffering_since`` is set where the topic belongs to a near node."""

    node_id: str
    domain: str
    topic: str
    buffering_since: float | None = None


class Wanted(msgspec.Struct, frozen=True):
    """A node that a diff asks about: for whom its queue would be, and how it could be named."""

    node_id: str
    domain: str
    code_hash: str
    config_hash: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the graph has of wanted nodes: their parts by id, emissions by (id, domain), queues by topic.

    ``near`` has nodes of equal code and configuration, by both, for wanted nodes without a queue of their own.
    """

    nodes: dict[str, Parts] = field(default_factory=dict)
    emissions: dict[tuple[str, str], Emission] = field(default_factory=dict)
    queues: dict[str, StoredQueue] = field(default_factory=dict)
    near: dict[tuple[str, str], list[StoredNode]] = field(default_factory=dict)


def orphans(wanted: Iterable[Wanted], known: Known) -> list[Wanted]:
    """Return those that have no queue of their own yet."""
    emissions = known.emissions
    return [
        one
        for one in wanted
        if (found := emissions.get((one.node_id, one.domain))) is None or found.buffering_since is not None
    ]


@dataclass(frozen=True, slots=True)
class Change:
    """What one diff adds to the graph, all or nothing. The same change again changes nothing."""

    strategy_id: str
    nodes: tuple[StoredNode, ...]
    queues: tuple[StoredQueue, ...]
    emissions: tuple[Emission, ...]
    uses: tuple[str, ...]
    produces: tuple[str, ...]
    sentinel: Sentinel | None
    sentinel_nodes: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class StoredSentinel:
    """A version, how much it decides, and how many live strategies have it."""

    version: str
    commit_hash: str
    release_tag: str
    traffic_weight: float
    created_at: float
    released_at: float | None
    strategies: int


class GraphStore(Dependency):
    """Keeps the global graph.

    Promises: ``apply`` is atomic, serialisable and idempotent; a node id, a topic and an emission (node, domain)
    exist once; a queue has at most one producer; nothing acknowledged is lost by kill -9.
    """

    role = "graph"

    @abstractmethod
    async def fetch(self, wanted: Sequence[Wanted]) -> Known:
        """Return everything that diffs need to know about nodes, in one snapshot; more than that is no harm."""

    @abstractmethod
    async def apply(self, changes: Sequence[Change]) -> list[ServiceError | None]:
        """Write changes in one transaction, each as if the ones before it were there; None for each that was written.

        ConflictError: it rests on what is no longer so, such as a topic that is free or a queue that is kept.
        EndedError: the strategy was released, so a diff that comes late leaves nothing behind.
        """

    @abstractmethod
    async def release(self, strategy_id: str, at: float) -> list[str]:
        """End all uses of a strategy, for good; return its topics.

        A queue that it produced goes to another user, or has no producer.
        """

    @abstractmethod
    async def nodes(self, tags: Sequence[str] = (), limit: int = 100_000) -> list[NodeInfo]:
        """Return nodes that have all the tags, newest first."""

    @abstractmethod
    async def queues(self, query: QueueQuery, limit: int = 100_000) -> list[QueueInfo]:
        """Return queues, those of any or all tags where tags are given, by topic."""

    @abstractmethod
    async def mark(self, topics: Sequence[str], state: str, unused_since: float | None = None) -> list[str]:
        """Set the state of queues; return those that were changed. Only pending queues become ready.

        With ``unused_since``, only queues that nobody uses and nobody has used since that time, decided atomically.
        """

    @abstractmethod
    async def next_term(self) -> int:
        """Return a number above all that this ever returned, from 1 on: each life of a DAG manager takes one."""

    @abstractmethod
    async def forget(self, topics: Sequence[str]) -> list[str]:
        """Remove queues that are being dropped, and nodes that nothing needs any more; return the topics removed."""
