"""One runner's part in the shared computation. Pure: no I/O, no clock; a shell reads, writes and beats for it.

1. ``assign`` says which nodes this runner produces, each under an epoch. The machine fences a topic off (a batch that
   voids what the last producer may still write), reads it up to the fence, and goes on behind its last bucket.
2. ``wants`` says what to read and which feeds to ask; ``take`` and ``feed`` hand over what came.
3. ``step`` computes everything that is complete, and returns what to append and what was delivered.

Which nodes are computed here and which are read is a *generation*. When it changes, everything is read again from as
many bars before as the warm-up needs; outputs are functions of bounded windows, so the new generation gives the same
bits, and each bucket that a node has emitted before is compared instead of emitted again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

from qmtl.engine.plan import Plan
from qmtl.engine.stream import StreamEngine
from qmtl.errors import QmtlError
from qmtl.graph.node import StreamInput
from qmtl.interval import format_time
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE, Sequence, Violation
from qmtl.live.source import Source
from qmtl.live.track import Reader, Replay, is_fence
from qmtl.ports.record_log import Entry
from qmtl.wire.records import Batch

#: Rows of a node in one step: as many as amortise a commit.
CAPACITY = 1024
#: How much further back a generation begins when its first try was not warm.
_FURTHER = 4
#: A topic is not read on while so many of its records wait for others.
_WAITING = 8192


@dataclass(frozen=True)
class Job:
    """What a runner runs.

    Attributes
    ----------
    plan : Plan
        Of all its strategies' nodes, as if all were computed here.
    topics : mapping of node id to topic
        A node without one is computed here, for this runner alone.
    wanted : frozenset of str
        Ids whose records are delivered.
    begin : int
        First bucket that is read, warm-up included, seconds UTC; ``NONE`` for everything.
    """

    plan: Plan
    topics: Mapping[str, str]
    wanted: frozenset[str]
    begin: int = NONE


@dataclass(frozen=True, slots=True)
class Wants:
    """What the machine waits for: topics to seek (bucket), topics to read (position), feeds to ask (last bucket)."""

    seeks: dict[str, int]
    reads: dict[str, int]
    feeds: dict[str, int]


@dataclass(slots=True)
class Step:
    """What a step did.

    Attributes
    ----------
    delivered : dict of node id to Rows
        Records that nobody was given before, each bucket once, in order.
    through : int or None
        Everything that ends at or before it has been delivered; None if nothing moved.
    """

    delivered: dict[str, Rows] = field(default_factory=dict)
    through: int | None = None


class Machine:
    """See the module.

    Parameters
    ----------
    job : Job
        What to run.
    delivered : mapping of node id to bucket, optional
        Last bucket of each node that was delivered before, by another life of this runner.
    """

    def __init__(self, job: Job, *, delivered: Mapping[str, int] | None = None) -> None:
        self.job, self._nodes = job, job.plan.nodes
        self._by_topic = {topic: node for node, topic in job.topics.items()}
        self.readers = {node: Reader(topic) for node, topic in job.topics.items()}
        self.roles: dict[str, int] = {}
        self._void: dict[str, int] = {}
        self._caught: set[str] = set()
        #: What this runner emits: nodes that it produces, and those without a topic.
        self._emitted = {node: Sequence() for node in self._nodes if node not in job.topics}
        self.delivered = dict.fromkeys(self._nodes, NONE) | dict(delivered or {})
        self.quarantined: dict[str, str] = {}
        self._faults: dict[str, int] = {}
        self.computed, self.read = dict.fromkeys(self._nodes, 0), dict.fromkeys(self._nodes, 0)
        self._marks: dict[str, int] = {}
        self._fields: dict[str, tuple[str, ...]] = {}
        self.outbox: list[tuple[str, Batch]] = []
        self._factor = 1
        self.open()

    @property
    def ours(self) -> set[str]:
        """Nodes whose topics this runner writes now."""
        return self._emitted.keys() & self.job.topics.keys()

    def known(self, node: str) -> Sequence:
        """Return what is known of a node's records."""
        return self._emitted[node] if node in self._emitted else self.readers[node].sequence

    # ------------------------------------------------------------------------------ roles

    def assign(self, roles: Mapping[str, int]) -> None:
        """Take the topics that this runner produces from now on, all of them, with their epochs."""
        wanted = {self._by_topic[topic]: epoch for topic, epoch in roles.items() if topic in self._by_topic}
        wanted = {node: epoch for node, epoch in wanted.items() if epoch > self._void.get(node, 0)}
        if wanted == self.roles:
            return
        gone = {node for node, epoch in self.roles.items() if wanted.get(node) != epoch}
        new = {node: epoch for node, epoch in wanted.items() if self.roles.get(node) != epoch}
        self.roles = wanted
        self._lose(gone)
        self.outbox += [(self.job.topics[node], Batch(node, epoch)) for node, epoch in new.items()]

    def refused(self, topics: Mapping[str, int]) -> None:
        """Give up topics of which a batch of this epoch was refused, because a newer one has taken them."""
        nodes = {self._by_topic[topic] for topic, epoch in topics.items()}
        nodes = {node for node in nodes if self.roles.get(node, 0) == topics[self.job.topics[node]]}
        for node in nodes:
            self._void[node] = self.roles.pop(node)
        self._lose(nodes)

    def _lose(self, nodes: Collection[str]) -> None:
        """Read on from our own fence: what we wrote behind it may be void by now."""
        self._caught -= set(nodes)
        lost = self.ours & set(nodes)
        for node in lost:
            del self._emitted[node]
        self.outbox = [(topic, batch) for topic, batch in self.outbox if self._by_topic[topic] not in nodes]
        if lost:
            self.open()

    # ------------------------------------------------------------------------- generations

    def open(self) -> None:
        """Begin a generation: decide what is computed here, and from where on everything is read."""
        local = self._local()
        self.part = self.job.plan.part(local, self._fields)
        self.engine = StreamEngine(self.part, CAPACITY) if local else None
        self.watermark = NONE
        self._unproven = {k: last for k in local if (last := self.known(k).last) != NONE}
        self.sources: dict[str, Source] = {}
        self._replays: dict[str, Replay] = {}
        begin = self._beginning(local)
        for node, plan in self.part.nodes.items():
            if plan.is_source:
                self._begin(node, begin)
        for node in (self.job.wanted & self.job.topics.keys()) - local - self.sources.keys() - self.broken:
            self._begin(node, self.delivered[node] + 1)

    def _local(self) -> set[str]:
        """Return the nodes to compute: those we produce and those without a topic, if nothing above is quarantined."""
        local: set[str] = set()
        self.broken: set[str] = set()
        for node, plan in self._nodes.items():
            above = {edge.node.node_id for edge in plan.inputs if edge.node is not None}
            if node in self.quarantined or above & self.broken:
                self.broken.add(node)
            elif plan.inputs and node in self._emitted:
                local.add(node)
        return local

    def _beginning(self, local: Collection[str]) -> int:
        """Return the bucket from which on sources are read so that every node is warm behind its last bucket."""
        lasts = [self.known(k).last for k in local]
        if not lasts or NONE in lasts:
            return self.job.begin
        warm = max(p.warmup_s + p.node.interval for p in self.part.nodes.values())
        return max(self.job.begin, min(lasts) - self._factor * warm)

    def _begin(self, node: str, begin: int) -> None:
        """Make the source of a node; what is known of it from ``begin`` on is read once more."""
        known, source = self.known(node), Source(self._nodes[node].node.interval)
        self.sources[node] = source
        if known.last < begin or known.last == NONE:
            source.put(None, known.through)
            return
        reader = self.readers[node]
        until = NONE if node in self._emitted else reader.position
        self._replays[node] = Replay(reader.topic, begin, until, known.last, known.through)

    # ------------------------------------------------------------------------------ inputs

    def wants(self) -> Wants:
        """Return what to read and which feeds to ask now."""
        again = self._replays.values()
        following = [self.readers[node] for node in self.readers if self._follows(node)]
        return Wants(
            seeks={replay.topic: replay.begin for replay in again if replay.position is None},
            reads={reader.topic: reader.position for reader in following}
            | {replay.topic: replay.position for replay in again if replay.position is not None},
            feeds={node: self.known(node).last for node in self.ours if self._is_stream(node) and self._has_room(node)},
        )

    def _follows(self, node: str) -> bool:
        return node not in self._emitted and node not in self._replays and self._has_room(node)

    def _has_room(self, node: str) -> bool:
        return node not in self._replays and (node not in self.sources or len(self.sources[node]) < _WAITING)

    def _is_stream(self, node: str) -> bool:
        return isinstance(self._nodes[node].node, StreamInput)

    def sought(self, positions: Mapping[str, int]) -> None:
        """Take the positions of topics that were sought."""
        for replay in self._replays.values():
            if replay.position is None and replay.topic in positions:
                replay.position = positions[replay.topic]

    def take(self, entries: Mapping[str, Ordered[Entry]]) -> None:
        """Take what was read from topics; what was asked for before a new generation began is passed over."""
        for topic, found in entries.items():
            node = self._by_topic[topic]
            for entry in found:
                if node in self._replays:
                    self._repeat(node, entry)
                elif node not in self._emitted and entry.next > self.readers[node].position:
                    self.readers[node].position = entry.next
                    self._take(node, entry.batch)

    def _repeat(self, node: str, entry: Entry) -> None:
        replay, source = self._replays[node], self.sources[node]
        if replay.position is not None and entry.next > replay.position:
            replay.position = entry.next
            replay.take(entry.batch, source)
            if replay.is_over:
                source.put(None, replay.through)
                del self._replays[node]

    def _take(self, node: str, batch: Batch) -> None:
        sequence = self.readers[node].sequence
        rows = sequence.take(batch)
        if (rows is None or self._fits(node, rows)) and node in self.sources and node not in self._replays:
            self.sources[node].put(rows, sequence.through)
        self._watch(node, batch, sequence.violation)
        if is_fence(batch, self.roles.get(node, 0)):
            if self._is_stream(node):
                self._own(node)
            else:
                self._caught.add(node)

    def _own(self, node: str) -> None:
        """Emit from here on, behind what the topic has."""
        self._emitted[node] = self.readers[node].sequence.copy()

    def _watch(self, node: str, batch: Batch, violation: Violation | None) -> None:
        """Quarantine a node that its producer gave up or that contradicts itself; a new producer lifts it."""
        if batch.epoch > self._faults.get(node, batch.epoch):
            del self._faults[node]
            if self.quarantined.pop(node, None):
                self.open()
        elif batch.fault and batch.epoch == self.readers[node].sequence.epoch:
            self._quarantine(node, batch.fault, batch.epoch)
        if violation is not None and node not in self.quarantined:
            self._quarantine(node, self._told(node, violation), batch.epoch)

    def _fits(self, node: str, rows: Rows) -> bool:
        """Learn the fields of a node from its first records and hold later ones to them."""
        known = self._fields.setdefault(node, rows.fields)
        if known != rows.fields:
            self._quarantine(node, f"QM-SCHEMA: {self._label(node)} had the fields {known}, and now {rows.fields}")
            return False
        planned = self.part.nodes.get(node)
        if planned is not None and planned.given and planned.fields != known:
            self.open()
        return True

    def feed(self, node: str, rows: Rows | None, through: int) -> None:
        """Take sealed bars of a stream that we produce, all later than those before."""
        known = self._emitted[node]
        fresh = Rows.none() if rows is None else rows.after(known.last)
        if (len(fresh) and not self._fits(node, fresh)) or (not len(fresh) and through <= known.through):
            return
        known.emitted(fresh, through)
        self.computed[node] += len(fresh)
        self.outbox.append((self.job.topics[node], fresh.batch(node, self.roles[node], through)))
        if node in self.sources and node not in self._replays:
            self.sources[node].put(fresh, through)

    # -------------------------------------------------------------------------------- step

    def step(self) -> Step:
        """Compute what is complete, as much as one step takes."""
        self._promote()
        done, until = Step(), self._until()
        if until is None:
            return done
        chunks = {node: source.take(until) for node, source in self.sources.items()}
        if self.engine is not None and not self._compute(until, chunks, done):
            return Step()
        for node, rows in chunks.items():
            self._deliver(node, rows, done)
            self.read[node] += 0 if rows is None or node in self._emitted else len(rows)
        self.watermark = done.through = until
        return done

    def _until(self) -> int | None:
        """Return how far a step may go: as far as every source is known, and not more rows than fit."""
        sources = self.sources.values()
        if not sources or any(source.through == NONE for source in sources):
            return None
        until = min(*(s.frontier for s in sources), max(s.through for s in sources))
        ends = [end for s in sources if (end := s.first_end) is not None]
        if ends:
            until = min(until, min(ends) + (CAPACITY - 2) * min(s.interval for s in sources))
        return until if until > self.watermark else None

    def _compute(self, until: int, chunks: Mapping[str, Rows | None], done: Step) -> bool:
        """Run the engine; return False if the step has to be taken again by another generation."""
        assert self.engine is not None  # the caller looked
        given = {
            k: (rows.ts, [*rows.values]) for k, rows in chunks.items() if rows is not None and k in self.part.nodes
        }
        try:
            self.engine.advance(until, given)
        except QmtlError as error:
            self._failed(error)
            return False
        made = {node: Rows.made(*self.engine.rows(node)) for node in self.part.keep}
        whole = next((node for node in made if len(made[node]) and not made[node].fields), None)
        if whole is not None:
            hint = "topics carry records of numbers, not whole frames"
            self._quarantine(whole, f"QM-SCHEMA: {self._label(whole)} emits whole frames; {hint}")
            return False
        if not self._proven(made, until):
            return False
        for node, rows in made.items():
            self._emit(node, rows, until)
            self._deliver(node, rows, done)
        return True

    def _proven(self, made: Mapping[str, Rows], until: int) -> bool:
        """Check that each node gives its last bucket again: it is warm, and its code is the same."""
        for node, bucket in list(self._unproven.items()):
            if bucket + self._nodes[node].node.interval > until:
                continue
            rows = made[node]
            if bucket in rows.ts:
                del self._unproven[node]
                self.known(node).compare(rows.part(0, len(rows) - len(rows.after(bucket))))
                if (violation := self.known(node).violation) is not None:
                    self._quarantine(node, self._told(node, violation))
                    return False
            elif self._beginning(self.part.keep) > self.job.begin:
                self._factor *= _FURTHER
                self.open()
                return False
            else:
                again = f"its bucket {format_time(bucket)} cannot be computed again from what the topics still hold"
                self._quarantine(node, f"QM-HISTORY: {self._label(node)}: {again}")
                return False
        self._factor = 1 if not self._unproven else self._factor
        return True

    def _emit(self, node: str, rows: Rows, until: int) -> None:
        known = self._emitted[node]
        fresh = rows.after(known.last)
        known.emitted(fresh, until)
        self.computed[node] += len(fresh)
        if node not in self.job.topics:
            return
        interval = self._nodes[node].node.interval
        if len(fresh) or until // interval > self._marks.get(node, NONE) // interval:
            self._marks[node] = until
            self.outbox.append((self.job.topics[node], fresh.batch(node, self.roles[node], until)))

    def _deliver(self, node: str, rows: Rows | None, done: Step) -> None:
        if rows is None or node not in self.job.wanted:
            return
        fresh = rows.after(self.delivered[node])
        if len(fresh):
            self.delivered[node] = int(fresh.ts[-1])
            done.delivered[node] = fresh

    def _promote(self) -> None:
        """Begin to compute nodes whose topics were read to the end: the next bucket is ours."""
        ready = {node for node in self._caught if self._is_through(node)}
        if ready:
            self._caught -= ready
            for node in ready:
                self._own(node)
            self.open()

    def _is_through(self, node: str) -> bool:
        last = self.known(node).last
        return last == NONE or self.watermark >= last + self._nodes[node].node.interval

    # ------------------------------------------------------------------------------ faults

    def _failed(self, error: QmtlError) -> None:
        assert self.engine is not None  # it has just failed
        node = self.engine.executor.running
        if node is None:
            raise error
        self._quarantine(node, f"{error.code}: {error.message}")

    def _told(self, node: str, found: Violation) -> str:
        first, second = (dict(zip(found.fields, values, strict=False)) for values in (found.first, found.second))
        return f"QM-DETERMINISM: {self._label(node)} gave {first} at {format_time(found.bucket)}, and again {second}"

    def _label(self, node: str) -> str:
        return f"node {self._nodes[node].node.label!r}"

    def _quarantine(self, node: str, reason: str, epoch: int | None = None) -> None:
        """Stop a node and what reads it; everything else goes on."""
        self.quarantined[node] = reason
        self._faults[node] = self.roles.get(node, 0) if epoch is None else epoch
        self.known(node).violation = None
        if node in self.ours:
            self.outbox.append((self.job.topics[node], Batch(node, self.roles[node], fault=reason)))
            del self._emitted[node]
        self.open()
