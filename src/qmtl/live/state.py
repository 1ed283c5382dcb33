"""What a machine knows: plain state, and what of it survives a restart. Pure."""

from __future__ import annotations

from collections.abc import Collection

from qmtl.graph.node import StreamInput
from qmtl.live.job import Job
from qmtl.live.memory import Followed, Kept, Known, Memory
from qmtl.live.repairs import Repairs, inputs, pending
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE, Sequence
from qmtl.live.track import Reader
from qmtl.wire.records import Batch


class State:
    """The state of a :class:`qmtl.live.machine.Machine`, and questions about it."""

    def __init__(self, job: Job) -> None:
        self.job, self._nodes = job, job.plan.nodes
        self._by_topic = {topic: node for node, topic in job.topics.items()}
        self.readers = {node: Reader(topic) for node, topic in job.topics.items()}
        self._streams = [node for node in self.readers if self._is_stream(node)]
        self.roles: dict[str, int] = {}
        self._void: dict[str, int] = {}
        self._caught: set[str] = set()
        #: What this runner emits: nodes that it produces, and those without a topic.
        self._emitted = {node: Sequence() for node in self._nodes if node not in job.topics}
        self.delivered = dict.fromkeys(self._nodes, NONE)
        self._marks = dict.fromkeys(job.wanted, NONE)
        self._through = NONE
        self._waiting: dict[str, list[Rows]] = {node: [] for node in job.wanted}
        self.repairs = {node: Repairs() for node in self._nodes}
        self._revisions: dict[str, int] = {}
        self._revised: list[tuple[str, int, Rows]] = []
        self.quarantined: dict[str, str] = {}
        #: Nodes that are quarantined, and all that read them.
        self.broken: set[str] = set()
        self._faults: dict[str, int] = {}
        self.computed, self.read = dict.fromkeys(self._nodes, 0), dict.fromkeys(self._nodes, 0)
        self._fields: dict[str, tuple[str, ...]] = {}
        self.outbox: list[tuple[str, Batch]] = []
        self._lost: dict[str, Sequence] = {}
        #: Nodes whose upstreams change, and behind which bucket they are computed here from those of now: to be written
        #: down before the next step. One that has no upstreams is computed nowhere.
        self.turns: list[tuple[str, int]] = []
        #: Something was delivered that is not what the topics say now: this machine has to begin anew from a snapshot
        #: that was taken when it was confirmed.
        self.is_stale = False

    def snapshot(self) -> bytes:
        """Return what another life of this runner needs to go on; taken when the outbox is empty and appended."""
        return Memory(
            topics={node: Followed.of(reader) for node, reader in self.readers.items()},
            private={node: Known.of(one) for node, one in self._emitted.items() if node not in self.readers},
            delivered={node: last for node, last in self.delivered.items() if last != NONE},
            marks=self._marks,
            waiting={node: [p.batch(node, 0, NONE) for p in parts] for node, parts in self._waiting.items() if parts},
            quarantined=self.quarantined,
            faults=self._faults,
            fields=self._fields,
            repairs={node: Kept.of(one) for node, one in self.repairs.items() if one.revision},
            revised=[(node, rows.batch(node, 0, NONE, revision)) for node, revision, rows in self._revised],
            computed=self.computed,
            read=self.read,
        ).encoded()

    def _remember(self, memory: Memory) -> None:
        """Take over what is remembered of nodes that are still there."""
        topics = self.job.topics
        self.readers |= {node: one.reader(topics[node]) for node, one in memory.topics.items() if node in topics}
        self._emitted |= {node: one.sequence() for node, one in memory.private.items() if node in self._emitted}
        self.delivered |= memory.delivered
        self._marks |= {node: mark for node, mark in memory.marks.items() if node in self._marks}
        self._through = min(self._marks.values(), default=NONE)
        self._waiting |= {node: [Rows.of(batch) for batch in parts] for node, parts in memory.waiting.items()}
        self.quarantined, self._faults = dict(memory.quarantined), dict(memory.faults)
        self._fields = dict(memory.fields)
        self.repairs |= {node: one.repairs() for node, one in memory.repairs.items()}
        self._revised = [(node, batch.revision, Rows.of(batch)) for node, batch in memory.revised]
        self.computed |= memory.computed
        self.read |= memory.read

    def _begin_turns(self) -> None:
        """Note what nobody takes over: nodes that are idle, and those without a topic."""
        idle = {node: self.delivered.get(node, NONE) for node in self.job.varying - self._nodes.keys()}
        own = {node: one.last for node, one in self._emitted.items() if node in self.job.varying}
        self.turns += [*idle.items(), *own.items()]

    def _take_over(self, node: str) -> None:
        """Emit a node: the next bucket is ours."""
        self._emitted[node] = self.readers[node].sequence.copy()
        self._revisions[node] = self.repairs[node].revision
        if node in self.job.varying:
            self.turns.append((node, self._emitted[node].last))

    @property
    def ours(self) -> set[str]:
        """Nodes whose topics this runner writes now."""
        return self._emitted.keys() & self.job.topics.keys()

    @property
    def holds(self) -> dict[str, int]:
        """Topics that this runner produces, with their epochs."""
        return {self.job.topics[node]: epoch for node, epoch in self.roles.items()}

    def known(self, node: str) -> Sequence:
        """Return what is known of a node's records."""
        return self._emitted.get(node) or self.readers[node].sequence

    def through(self, nodes: Collection[str]) -> int:
        """Return the moment up to which all records of these wanted nodes have been delivered."""
        return min((self._marks[node] for node in nodes), default=NONE)

    @property
    def is_confirmed(self) -> bool:
        """Whether everything that this runner wrote was read from the topics: only then a snapshot is for good."""
        return not (self.is_stale or self.is_in_doubt or self.outbox) and all(
            self.readers[node].sequence.last >= self._emitted[node].last
            and self.repairs[node].revision >= self._revisions.get(node, 0)
            for node in self.ours
        )

    @property
    def is_in_doubt(self) -> bool:
        """Whether records were delivered that somebody else writes now, and has not written yet."""
        return not self._lost.keys() <= self.broken

    @property
    def is_repaired(self) -> bool:
        """Whether a repair was read."""
        return any(one.revision for one in self.repairs.values())

    @property
    def is_settled(self) -> bool:
        """Whether every repair of a stream that was read has reached every node that goes on, and was delivered."""
        return not self._revised and not pending(self.job.plan, self._nodes.keys() - self.broken, self.repairs)

    def _above(self, node: str) -> frozenset[str]:
        return inputs(self._nodes[node])

    def _is_stream(self, node: str) -> bool:
        return isinstance(self._nodes[node].node, StreamInput)

    def _label(self, node: str) -> str:
        return f"node {self._nodes[node].node.label!r}"
