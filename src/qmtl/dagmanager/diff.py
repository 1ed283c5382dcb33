"""What a submission adds to the world. Pure: a document and what is known in, a change and an answer out.

1. ``wanted`` says what has to be fetched: one batch.
2. ``decide`` classifies each node in topological order:

   ============================================  ==================================================================
   same id known, producer alive                 ``reuse``: subscribe to its queue
   same id known, no producer                    ``produce``: reuse the queue, the submitter becomes the producer
   same code and configuration, schema extended  ``buffer``: reuse the near node's queue; for 7 days at most
   otherwise                                     ``new``: a node, a queue
   ============================================  ==================================================================

The same request again gives the same answer: what a strategy has created is ``new`` for it whenever it asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from qmtl.dagmanager.topics import (
    PRIVATE,
    QUALITIES,
    QUERY_TYPES,
    SHARED,
    SIMULATED,
    assets,
    candidates,
    kept_ms,
    quality_of,
)
from qmtl.graph.identity import Parts, collision_id
from qmtl.ports.graph_store import DROPPING, PENDING, READY, Change, Emission, Known, StoredNode, StoredQueue, Wanted
from qmtl.wire.dag import Document, Entry
from qmtl.wire.messages import DiffAnswer, DiffRequest

#: So long a node may read the queue of a near node before it is computed in full.
BUFFERING_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Decision:
    """The change to apply, the answer to give, and how topics have to be before it is given.

    ``unready`` have to exist; ``keeps`` are milliseconds for which topics keep records, longer than their class says.
    """

    change: Change
    answer: DiffAnswer
    unready: tuple[StoredQueue, ...]
    keeps: Mapping[str, int]


def domains(entries: Sequence[Entry], request: DiffRequest) -> dict[str, str]:
    """Return whom each node's queue is for: everybody, simulated executions, or this strategy alone."""
    found: dict[str, str] = {}
    for entry in entries:
        upstream = {found[edge.node_id] for edge in entry.inputs}
        private = f"{PRIVATE}{request.strategy_id}"
        if not entry.pure or private in upstream:
            found[entry.node_id] = private
        elif request.run_type != "live" and (quality_of(entry.node_type) == "trade" or SIMULATED in upstream):
            found[entry.node_id] = SIMULATED
        else:
            found[entry.node_id] = SHARED
    return found


def wanted(document: Document, request: DiffRequest) -> list[Wanted]:
    """Return what has to be known to decide."""
    domain, asset = domains(document.nodes, request), assets(document.nodes)
    found = []
    for entry in document.nodes:
        own = domain[entry.node_id]
        names = tuple(candidates(entry, own, asset[entry.node_id]))
        found.append(Wanted(entry.node_id, own, entry.code_hash, entry.config_hash, names))
    return found


def collisions(document: Document, known: Known) -> dict[str, str]:
    """Return other ids for nodes whose id the graph has with other content."""
    renamed = {}
    for entry in document.nodes:
        stored = known.nodes.get(entry.node_id)
        parts = _parts(entry)
        if stored is not None and parts != stored:
            renamed[entry.node_id] = collision_id(parts)
    return renamed


def rename(document: Document, renamed: Mapping[str, str]) -> Document:
    """Return the document with other ids for some nodes."""

    def changed(entry: Entry) -> Entry:
        edges = [
            msgspec.structs.replace(edge, node_id=renamed.get(edge.node_id, edge.node_id)) for edge in entry.inputs
        ]
        return msgspec.structs.replace(entry, node_id=renamed.get(entry.node_id, entry.node_id), inputs=edges)

    return Document(tuple(changed(entry) for entry in document.nodes), document.dag_hash)


def decide(request: DiffRequest, document: Document, known: Known, now: float) -> Decision:
    """Classify every node and return the change and the answer."""
    draft = _Draft(request, known, now, domains(document.nodes, request), assets(document.nodes))
    for entry in document.nodes:
        draft.add(entry)
    return draft.decision()


@dataclass(slots=True)
class _Draft:
    """A decision in the making."""

    request: DiffRequest
    known: Known
    now: float
    domain: dict[str, str]
    asset: dict[str, str]
    nodes: list[StoredNode] = field(default_factory=list)
    queues: dict[str, StoredQueue] = field(default_factory=dict)
    emissions: list[Emission] = field(default_factory=list)
    uses: dict[str, StoredQueue] = field(default_factory=dict)
    produces: list[str] = field(default_factory=list)
    actions: dict[str, str] = field(default_factory=dict)
    queue_map: dict[str, str] = field(default_factory=dict)
    keeps: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        if entry.node_type in QUERY_TYPES:
            return
        if entry.node_id not in self.known.nodes:
            self.nodes.append(self._node(entry))
        action, queue = self._classify(entry)
        self.actions[entry.node_id], self.queue_map[entry.node_id] = action, queue.topic
        self.uses[queue.topic] = queue
        if (kept := kept_ms(entry)) > QUALITIES[queue.quality].retention_ms:
            self.keeps[queue.topic] = kept
        if action in {"new", "produce"} and queue.producer is None:
            self.produces.append(queue.topic)

    def _classify(self, entry: Entry) -> tuple[str, StoredQueue]:
        domain = self.domain[entry.node_id]
        emission = self.known.emissions.get((entry.node_id, domain))
        if emission is not None:
            queue = self.known.queues[emission.topic]
            if emission.buffering_since is None:
                return self._known(queue), queue
            if self.now - emission.buffering_since <= BUFFERING_S:
                return "buffer", queue
        elif (near := self._near(entry, domain)) is not None:
            self.emissions.append(Emission(entry.node_id, domain, near.topic, buffering_since=self.now))
            return "buffer", near
        return "new", self._new(entry, domain)

    def _known(self, queue: StoredQueue) -> str:
        me = self.request.strategy_id
        if queue.created_by == me:
            return "new"
        return "reuse" if queue.producer not in {None, me} else "produce"

    def _near(self, entry: Entry, domain: str) -> StoredQueue | None:
        """Find the queue of the oldest node of equal code and configuration whose fields this one extends."""
        known = self.known.near.get((entry.code_hash, entry.config_hash), [])
        for node in sorted(known, key=lambda node: (node.created_at, node.node_id)):
            emission = self.known.emissions.get((node.node_id, domain))
            if node.node_type == entry.node_type and _extends(entry.schema, node.schema) and emission is not None:
                queue = self.known.queues.get(emission.topic)
                if emission.buffering_since is None and queue is not None and queue.state != DROPPING:
                    return queue
        return None

    def _new(self, entry: Entry, domain: str) -> StoredQueue:
        names = list(candidates(entry, domain, self.asset[entry.node_id]))
        free = [name for name in names if name not in self.known.queues and name not in self.queues]
        topic = (free or names)[0]
        queue = StoredQueue(
            topic=topic,
            node_id=entry.node_id,
            domain=domain,
            quality=quality_of(entry.node_type),
            interval=entry.interval,
            tags=tuple(entry.tags),
            state=PENDING,
            producer=None,
            created_by=self.request.strategy_id,
            created_at=self.now,
        )
        self.queues[topic] = queue
        self.emissions.append(Emission(entry.node_id, domain, topic))
        return queue

    def _node(self, entry: Entry) -> StoredNode:
        return StoredNode(
            node_id=entry.node_id,
            node_type=entry.node_type,
            code_hash=entry.code_hash,
            config_hash=entry.config_hash,
            schema_hash=entry.schema_hash,
            schema=entry.schema,
            interval=entry.interval,
            period=entry.period,
            inputs=tuple(edge.node_id for edge in entry.inputs),
            tags=tuple(entry.tags),
            owner=self.request.owner,
            created_at=self.now,
        )

    def decision(self) -> Decision:
        change = Change(
            strategy_id=self.request.strategy_id,
            nodes=tuple(self.nodes),
            queues=tuple(self.queues.values()),
            emissions=tuple(self.emissions),
            uses=tuple(self.uses),
            produces=tuple(self.produces),
            sentinel=self.request.sentinel,
            sentinel_nodes=tuple(self.queue_map) if self.request.sentinel else (),
            at=self.now,
        )
        counts = [*self.actions.values()]
        answer = DiffAnswer(
            queue_map=self.queue_map,
            actions=self.actions,
            sentinel_id=self.request.sentinel.version if self.request.sentinel else None,
            new=counts.count("new"),
            reused=counts.count("reuse") + counts.count("produce"),
            buffering=counts.count("buffer"),
        )
        unready = tuple(queue for queue in self.uses.values() if queue.state != READY)
        return Decision(change, answer, unready, self.keeps)


def restore(answer: DiffAnswer, renamed: Mapping[str, str]) -> DiffAnswer:
    """Return an answer under the ids that were asked for."""
    back = {new: old for old, new in renamed.items()}
    return msgspec.structs.replace(
        answer,
        queue_map={back.get(node, node): topic for node, topic in answer.queue_map.items()},
        actions={back.get(node, node): action for node, action in answer.actions.items()},
    )


def merged(one: Known, other: Known) -> Known:
    """Return what two fetches know together."""
    return replace(
        one,
        nodes=one.nodes | other.nodes,
        emissions=one.emissions | other.emissions,
        queues=one.queues | other.queues,
        near=one.near | other.near,
    )


def _extends(new: Mapping[str, str] | None, old: Mapping[str, str] | None) -> bool:
    """Whether every field of the old schema is there with its type, and others came: a reader of old is served."""
    return bool(new) and bool(old) and dict(new or {}).items() >= dict(old or {}).items()


def _parts(entry: Entry) -> Parts:
    return Parts(entry.node_type, entry.code_hash, entry.config_hash, entry.schema_hash)
