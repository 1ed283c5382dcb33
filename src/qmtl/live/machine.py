"""One runner's part in the shared computation. Pure: no I/O, no clock; a shell reads, writes and beats for it.

1. ``assign`` says which nodes this runner produces, each under an epoch. The machine fences a topic off (a batch that
   voids what the last producer may still write), reads it up to the fence, and goes on behind its last bucket.
2. ``wants`` says what to read and which feeds to ask; ``take`` and ``feed`` hand over what came.
3. ``step`` computes everything that is complete, and returns what was delivered; ``outbox`` is what to append.

Which nodes are computed here and which are read is a *generation*. When it changes, everything is read again from as
many bars before as the warm-up needs; outputs are functions of bounded windows, so the new generation gives the same
bits, and the bucket that a node emitted last is compared instead of emitted again. A runner also reads the topics that
it writes: so it learns from the log itself that another has taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Sequence as Ordered

from qmtl.errors import QmtlError
from qmtl.interval import format_time
from qmtl.live.generation import CAPACITY, WAITING, Generation, Group
from qmtl.live.job import Job, Step, Wants
from qmtl.live.memory import Memory
from qmtl.live.repairs import Redo, pending, ready, rests
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE, Violation, difference
from qmtl.live.state import State
from qmtl.live.track import Replay, is_fence
from qmtl.ports.record_log import Entry
from qmtl.wire.records import Batch

__all__ = ["CAPACITY", "Job", "Machine", "Step", "Wants"]

#: How much further back a generation begins when its first tries were not warm; then from the very beginning.
_FURTHER = (1, 8, 64)


class Machine(State):
    """See the module.

    Parameters
    ----------
    job : Job
        What to run.
    snapshot : bytes, optional
        What :meth:`snapshot` of another life of this runner gave: nothing is read or delivered twice.
    """

    def __init__(self, job: Job, *, snapshot: bytes | None = None) -> None:
        super().__init__(job)
        self._tries = 0
        #: The moment before a node failed first: steps end there, so that everything before it counts.
        self._stops: dict[str, int] = {}
        if snapshot is not None:
            self._remember(Memory.of(snapshot))
        self._begin_turns()
        self._changed = True
        self._refresh()

    @property
    def running(self) -> str | None:
        """The user's node that is being computed now; may be asked by other threads."""
        return next((found for g in self._generation.groups if (found := g.engine.executor.running)), None)

    @property
    def groups(self) -> list[Group]:
        """What is computed here now; may be asked by other threads."""
        return self._generation.groups

    # ------------------------------------------------------------------------------ roles

    def assign(self, roles: Mapping[str, int]) -> dict[str, int]:
        """Take the topics that this runner produces from now on, all of them, with their epochs.

        Return those that it cannot take: the log has seen a newer epoch, so the manager has to give another.
        """
        wanted = {self._by_topic[topic]: epoch for topic, epoch in roles.items() if topic in self._by_topic}
        void = {node: epoch for node, epoch in wanted.items() if epoch < self._newest(node)}
        wanted = {node: epoch for node, epoch in wanted.items() if node not in void}
        if wanted != self.roles:
            gone = {node for node, epoch in self.roles.items() if wanted.get(node) != epoch}
            new = {node: epoch for node, epoch in wanted.items() if self.roles.get(node) != epoch}
            self.roles = wanted
            self._lose(gone)
            self.outbox += [(self.job.topics[node], Batch(node, epoch)) for node, epoch in new.items()]
            self._refresh()
        return {self.job.topics[node]: epoch for node, epoch in void.items()}

    def _newest(self, node: str) -> int:
        """Return the oldest epoch that is not void."""
        return max(self._void.get(node, 0), self.readers[node].sequence.epoch)

    def refused(self, topics: Mapping[str, int]) -> set[str]:
        """Give up topics of which a batch of this epoch was refused, because a newer one has taken them.

        Return the streams among them: what was computed from their last bars may rest on bars that nobody else has.
        """
        nodes = {self._by_topic[topic] for topic in topics}
        nodes = {node for node in nodes if self.roles.get(node, 0) == topics[self.job.topics[node]]}
        streams = {node for node in nodes & self.ours if self._is_stream(node)}
        for node in nodes:
            self._void[node] = self.roles.pop(node) + 1
        self._lose(nodes)
        self._refresh()
        return streams

    def _lose(self, nodes: Collection[str]) -> None:
        """Read on from where the topic was read to: what we wrote behind it may be void by now."""
        self._caught -= set(nodes)
        for node in self.ours & set(nodes):
            known, last = self._emitted.pop(node), self.readers[node].sequence.last
            self._changed = True
            self._revisions.pop(node, None)
            if node in self._lost:  # what was given away first counts
                self._lost[node].emitted(known.recent.after(self._lost[node].last), known.through)
            elif known.last > last:
                self._lost[node] = known
                self.is_stale |= last != NONE and known.recent.first > last
        self.outbox = [(topic, batch) for topic, batch in self.outbox if self._by_topic[topic] not in nodes]

    def _confirm(self, node: str, rows: Rows | None, low: int, through: int) -> None:
        """Compare what follows ``low`` in a topic with what was delivered before the topic was lost."""
        lost = self._lost.get(node)
        if lost is None:
            return
        high = through - self._nodes[node].node.interval
        mine, theirs = lost.recent.between(low, high), (rows or Rows.none()).between(low, min(high, lost.last))
        self.is_stale |= mine.ts.tobytes() != theirs.ts.tobytes() or difference(mine, theirs) is not None
        if high >= lost.last:
            del self._lost[node]

    # ------------------------------------------------------------------------- generations

    def _refresh(self) -> None:
        """Begin a new generation, if what is computed here has changed."""
        if not self._changed:
            return
        self._changed = False
        local = self._local()
        self._generation = Generation(self.job.plan, local, self._fields, self.repairs)
        behind = pending(self.job.plan, local, self.repairs)
        self._redo = {
            node: Redo(behind[node], self.known(node).through, self._above(node))
            for node in ready(self.job.plan, behind, self.repairs)
        }
        self._before = {node: self._proof(node, behind.get(node)) for node in local}
        begin = self._beginning()
        for node in self._generation.sources:
            self._begin(node, begin)

    def _proof(self, node: str, behind: int | None) -> Rows:
        """Return the last records that must come again, with the same bits, before anything of a node counts.

        Those of buckets from ``behind`` on may be others by now, because what the node reads was repaired.
        """
        known = self.known(node)
        return self.repairs[node].over(known.recent, NONE, known.through if behind is None else behind - 1)

    def _local(self) -> set[str]:
        """Return the nodes to compute: those we produce and those without a topic, if nothing above is quarantined."""
        local: set[str] = set()
        self.broken = set()
        for node, plan in self._nodes.items():
            if node in self.quarantined or self._above(node) & self.broken:
                self.broken.add(node)
            elif plan.inputs and node in self._emitted:
                local.add(node)
        return local

    def _beginning(self) -> int:
        """Return the bucket from which on sources are read so that every node is warm behind its last bucket."""
        proofs = self._before
        if not all(map(len, proofs.values())) or not proofs or self._tries >= len(_FURTHER):
            return self.job.begin
        warm = max(self._nodes[node].warmup_s + self._nodes[node].node.interval for node in proofs)
        last = min(rows.last for rows in proofs.values())
        return max(self.job.begin, last - _FURTHER[self._tries] * warm)

    def _begin(self, node: str, begin: int) -> None:
        """Begin a source; what is known of it from ``begin`` on is read once more."""
        known, reader = self.known(node), self.readers[node]
        if known.last < begin or known.last == NONE:
            interval = self._nodes[node].node.interval
            missing = self.repairs[node].over(Rows.none(), begin - 1, known.through - interval)
            self._generation.put(node, missing, known.through)
            return
        until = NONE if node in self._emitted else reader.position
        self._generation.replays[node] = Replay(reader, begin, until, known.last, known.through)

    # ------------------------------------------------------------------------------ inputs

    def wants(self) -> Wants:
        """Return what to read and which feeds to ask now."""
        replays, reads = self._generation.replays, {}
        for node, reader in self.readers.items():
            if node in self._emitted or self._has_room(node):
                reads[reader.topic] = replays.get(node, reader).position
        fed = (node for node in self._streams if node in self._emitted and self._may_feed(node))
        feeds = {node: self._emitted[node].last for node in fed if self._has_room(node)}
        return Wants(reads, feeds)

    def _has_room(self, node: str) -> bool:
        return self._generation.has_room(node) and sum(map(len, self._waiting.get(node, ()))) < WAITING

    def _may_feed(self, node: str) -> bool:
        return self._is_stream(node) and node not in self._generation.replays and node not in self.broken

    def take(self, entries: Mapping[str, Ordered[Entry]], since: Mapping[str, int]) -> None:
        """Take what was read from topics, behind positions; what does not go on where we are now is passed over.

        It was asked for before a new generation began, which may have to read from farther back.
        """
        for topic, found in entries.items():
            node = self._by_topic[topic]
            reader, replay = self.readers[node], self._generation.replays.get(node)
            if since[topic] != (replay or reader).position:
                continue
            for entry in found:
                if replay is None:
                    self._take(node, entry)
                elif node in self._generation.replays:
                    self._generation.repeat(node, entry)
        self._promote()
        self._refresh()

    def _take(self, node: str, entry: Entry) -> None:
        reader, batch = self.readers[node], entry.batch
        last = reader.sequence.last
        rows = reader.take(entry)
        self._confirm(node, rows, last, reader.sequence.through)
        self._heed(node, batch)
        if batch.revision and batch.epoch == reader.sequence.epoch:
            self._revise(node, batch)
        if rows is not None and not self._fits(node, rows):
            return
        if node not in self._emitted:
            self.read[node] += 0 if rows is None else len(rows)
            self._generation.put(node, rows, reader.sequence.through)
            self._deliver(node, rows)
        if is_fence(batch, self.roles.get(node, 0)) and node not in self._emitted:
            self._caught.add(node)

    def _promote(self) -> None:
        """Begin to emit nodes whose topics were read up to our fence, and all that their records rest on."""
        if not self._caught:
            return
        is_repaired = any(self.repairs[node].rests for node in self._caught)
        reached = rests(self.job.plan, self.repairs) if is_repaired else {}
        for node in list(self._caught):
            own = self.repairs[node].rests
            if node not in self.quarantined and all(
                own.get(k, 0) <= known for k, known in reached.get(node, {}).items()
            ):
                self._take_over(node)
                self._caught.discard(node)
                self._changed = True

    def _heed(self, node: str, batch: Batch) -> None:
        """Take in what a batch says besides records: another producer, a fault, a contradiction."""
        sequence = self.readers[node].sequence
        if batch.epoch > self.roles.get(node, batch.epoch):
            del self.roles[node]
            self._lose((node,))
        if batch.epoch > self._faults.get(node, batch.epoch):
            del self._faults[node]
            self._changed |= self.quarantined.pop(node, None) is not None
        elif batch.fault and batch.epoch == sequence.epoch and node not in self.quarantined:
            self._quarantine(node, batch.fault, batch.epoch)
        if sequence.violation is not None and node not in self.quarantined:
            self._quarantine(node, self._told(node, sequence.violation), batch.epoch)
        sequence.violation = None

    def _fits(self, node: str, rows: Rows) -> bool:
        """Learn the fields of a node from its first records and hold later ones to them."""
        known = self._fields.get(node)
        if known is None:
            self._fields[node] = rows.fields
            self._changed |= not self._generation.fits(node, rows.fields)
        elif known != rows.fields:
            self._quarantine(node, f"QM-SCHEMA: {self._label(node)} had the fields {known}, and now {rows.fields}")
            return False
        return True

    def feed(self, node: str, rows: Rows | None, through: int) -> None:
        """Take sealed bars of a stream that we produce, all later than those before."""
        known = self._emitted.get(node)
        if known is None or not self._may_feed(node):
            return  # it was asked for before another generation began
        fresh = Rows.none() if rows is None else rows.after(known.last)
        news = self._fits(node, fresh) if len(fresh) else through > known.through
        if news:
            self._generation.put(node, fresh, through)
            self._emit(node, fresh, through)
        self._refresh()

    # -------------------------------------------------------------------------------- step

    def step(self) -> Step:
        """Compute what is complete, as much as one step takes."""
        done = Step()
        for group in self._generation.groups:
            until = group.until(self._stops.values())
            if until is not None:
                done.advanced = True
                if not self._advance(group, until):
                    break
        self._settle()
        self._refresh()
        for node, parts in self._waiting.items():
            if parts:
                done.delivered[node] = Rows.joined(parts)
                parts.clear()
            self._marks[node] = max(self._marks[node], self.known(node).through)
        done.revised, self._revised = self._revised, []
        through = min(self._marks.values(), default=NONE)
        if through > self._through:
            self._through = done.through = through
        return done

    def _advance(self, group: Group, until: int) -> bool:
        """Run one group; return False if another generation has to begin."""
        try:
            made = group.compute(until)
        except QmtlError as error:
            self._failed(group, error)
            return False
        if group.failure is not None:
            self._failed(group, group.failure)
            return False
        if not self._before:
            self._tries = 0
        elif not self._proven(made, until):
            return False
        for node, rows in made.items():
            self._made(node, rows, until)
        return not self._changed

    def _made(self, node: str, rows: Rows, until: int) -> None:
        """Take what was computed of one node; it is called for each at every bar."""
        count = len(rows)
        if count and not rows.fields:
            hint = "topics carry records of numbers, not whole frames"
            self._quarantine(node, f"QM-SCHEMA: {self._label(node)} emits whole frames; {hint}")
        elif not count or self._fits(node, rows):
            self._generation.put(node, rows, until)
            if node in self._redo:
                self._redo[node].take(rows, until, self._nodes[node].node.interval)
            else:
                self._emit(node, rows.after(self._emitted[node].last), until)

    def _proven(self, made: Mapping[str, Rows], until: int) -> bool:
        """Check that each node gives its last bucket again: it is warm, and its code is the same."""
        for node, rows in made.items():
            before = self._before.get(node)
            if before is None:
                continue
            if len(before) and before.last + self._nodes[node].node.interval > until:
                continue
            if not len(before):
                del self._before[node]
            elif before.ts[-1] in rows.ts:
                del self._before[node]
                if node not in self.job.varying and (found := difference(before, rows)) is not None:
                    if self._lost:  # it may rest on what is void by now
                        self.is_stale = self._changed = True
                        return False
                    self._quarantine(node, self._told(node, found))
                    return False
            elif self._beginning() > self.job.begin:
                self._tries += 1
                self._changed = True
                return False
            elif node in self.job.varying:  # its new upstreams may not give that bucket
                del self._before[node]
            else:
                again = f"its bucket {format_time(before.last)} cannot be computed again from what topics hold"
                self._quarantine(node, f"QM-HISTORY: {self._label(node)}: {again}")
                return False
        self._tries = self._tries if self._before else 0
        return True

    def _emit(self, node: str, fresh: Rows, until: int) -> None:
        """Publish and deliver what is new."""
        known, count, topic = self._emitted[node], len(fresh), self.job.topics.get(node)
        if topic is not None and (count or self._is_news(node, known.through, until)):
            self.outbox.append((topic, fresh.batch(node, self.roles[node], until)))
        known.emitted(fresh, until)
        if count:
            self.computed[node] += count
            self._deliver(node, fresh)

    def _is_news(self, node: str, through: int, until: int) -> bool:
        """Whether it says something about buckets that a node has no records of them."""
        interval = self._nodes[node].node.interval
        return until // interval > through // interval

    def _deliver(self, node: str, rows: Rows | None) -> None:
        if rows is None or node not in self._waiting:
            return
        fresh = rows.after(self.delivered[node])
        if len(fresh):
            self.delivered[node] = fresh.last
            self._waiting[node].append(fresh)

    # ----------------------------------------------------------------------------- repairs

    def repair(self, node: str, rows: Rows) -> Rows:
        """Publish late bars of a stream that we produce, in the order in which they came, if they say something new.

        They count when they are read from its topic. Return those that have to wait: of buckets that are not sealed
        here yet, or all of them when the stream is not produced here now.
        """
        known = self._emitted.get(node)
        if known is None or not self._is_stream(node):
            return rows
        late, early = rows.ending(known.through, self._nodes[node].node.interval)
        late = late.newest()
        if len(late) and self._fits(node, late):
            if self.repairs[node].revision >= self._revisions.get(node, 0):  # else something else is on its way
                late = late.unlike(self.repairs[node].over(known.recent, NONE, known.through))
            for part in _pieces(late):
                self._publish(node, part, {})
        self._refresh()
        return early

    def _publish(self, node: str, rows: Rows, rests: dict[str, int]) -> None:
        revision = self._revisions[node] = max(self._revisions.get(node, 0), self.repairs[node].revision) + 1
        batch = rows.batch(node, self.roles.get(node, 0), self._emitted[node].through, revision, rests=rests)
        if node in self.job.topics:
            self.outbox.append((self.job.topics[node], batch))
        else:
            self._revise(node, batch)

    def _revise(self, node: str, batch: Batch) -> None:
        """Take a revision that everybody can see: deliver it, and compute again what depends on it."""
        rows = self.repairs[node].take(batch)
        if rows is not None:
            if len(rows) and node in self.job.wanted:
                self._revised.append((node, batch.revision, rows))
            self._changed |= node in self._generation.sources

    def _settle(self) -> None:
        """Publish what came out differently, where everything was computed again on inputs that everybody can see."""
        for node, redo in list(self._redo.items()):
            seen = all(self.repairs[one].revision >= self._revisions.get(one, 0) for one in redo.inputs)
            if self._changed or not (redo.is_over and seen) or redo.inputs & self._redo.keys():
                continue
            recent, interval = self._emitted[node].recent, self._nodes[node].node.interval
            before = self.repairs[node].over(recent, NONE, redo.sealed)
            first = recent.first if len(recent) else redo.sealed
            changed, gone, fresh = redo.differing(before, interval, first)
            *parts, last = _pieces(gone) + _pieces(changed) or [changed]
            for part in parts:
                self._publish(node, part, {})
            self._publish(node, last, rests(self.job.plan, self.repairs)[node])
            del self._redo[node]
            self._emit(node, fresh, redo.reached)

    # ------------------------------------------------------------------------------ faults

    def _failed(self, group: Group, error: QmtlError) -> None:
        """Go back and step up to the place, so that everything before it counts; the second time, stop the node."""
        if group.failed is None:
            raise error
        node, bucket = group.failed
        if self._stops.pop(node, None) is not None:
            self._quarantine(node, f"{error.code}: {error.message}")
        else:
            self._stops[node] = bucket + self._nodes[node].node.interval - 1
            self._changed = True

    def _told(self, node: str, found: Violation) -> str:
        bits = ", in other bits" if repr(found.first) == repr(found.second) else ""
        place = f"{self._label(node)} gave {found.first} at {format_time(found.bucket)}, and again {found.second}{bits}"
        return f"QM-DETERMINISM: determinism violation: {place}"

    def _quarantine(self, node: str, reason: str, epoch: int | None = None) -> None:
        """Stop a node and what reads it; everything else goes on."""
        self.quarantined[node] = reason
        self._faults[node] = self.roles.get(node, 0) if epoch is None else epoch
        if node in self.ours:
            self.outbox.append((self.job.topics[node], Batch(node, self.roles[node], fault=reason)))
            del self._emitted[node]
        self._changed = True


def _pieces(rows: Rows) -> list[Rows]:
    """Return records in batches that a log takes."""
    return [rows.part(k, k + CAPACITY) for k in range(0, len(rows), CAPACITY)]
