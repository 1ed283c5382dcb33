"""A runner's loop: feeds and topics in, computing, topics and the run's store out. The shell around the machine."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from qmtl.backoff import backoff
from qmtl.live.facts import facts
from qmtl.live.keeper import Keeper
from qmtl.live.line import Line, Trouble
from qmtl.live.machine import CAPACITY, Job, Machine, Step
from qmtl.live.pace import Pace
from qmtl.live.parts import Parts
from qmtl.live.recorded import check, of_frame

#: An idle loop looks around at least so often, in seconds; what comes from outside wakes it.
_IDLE_S = 0.5
#: Facts for others are made anew at most so often, in seconds.
_FACTS_S = 0.1
#: Waits of a loop whose log does not answer, in seconds.
_FIRST_S, _LONGEST_S = 0.05, 1.0


class Loop:
    """Carries one machine on until it is stopped or everything up to ``until`` was delivered.

    ``assign`` and ``stop`` may be called by other threads. What it has delivered is committed with a checkpoint, orders
    before anything they cause: whenever it is killed, the next life goes on from the last commit.
    """

    def __init__(self, parts: Parts, *, until: int | None = None, pace: Pace | None = None) -> None:
        self.parts, self.until = parts, until
        self._line = Line(parts.log, parts.now)
        self._survey()
        self._keeper = Keeper(parts, self._streams, pace or Pace())
        self._roles: Mapping[str, int] | None = None
        self._given: Mapping[str, int] = {}
        self._next: Job | None = None
        self._spent: dict[str, int] = {}
        self._quiet = False
        #: Since when the log has not said whether it has what was written; None when it has.
        self.writing_since: float | None = None
        #: When the computation that runs now began; None between computations.
        self.busy_since: float | None = None
        #: Topics whose log knows a newer epoch than the one that was given.
        self.refused: Mapping[str, int] = {}
        self.machine = self._resumed()
        #: What is known of each node, at most so old as a turn and :data:`_FACTS_S`.
        self.facts = facts(self.machine, self._upstream)
        self._told_at = parts.now()

    def _survey(self) -> None:
        plan = self.parts.job.plan
        self._streams = frozenset(stream.node_id for stream in plan.dag.streams)
        self._upstream = {node: plan.streams(node) for node in plan.nodes}

    def _resumed(self) -> Machine:
        """Return a machine that goes on from the last commit; accounts go back to it too."""
        return Machine(self.parts.job, snapshot=self._keeper.resumed(self._streams))

    # ---------------------------------------------------------------------------- from outside

    def assign(self, roles: Mapping[str, int]) -> None:
        """Say which topics this runner produces, with their epochs; taken over at the next turn, which is now."""
        self._roles = roles
        self._line.wake_soon()

    def replace(self, job: Job) -> None:
        """Run another job of the same strategies from the next commit on; to be called in the loop's own thread."""
        self._next = job
        self._line.wake()

    @property
    def trouble(self) -> Trouble:
        """That the log does not answer."""
        return self._line.trouble

    @property
    def through(self) -> int | None:
        """Everything that ends at or before it was delivered, seconds UTC."""
        return self._keeper.through

    @property
    def late(self) -> int:
        """How many bars came too late."""
        return self._keeper.late.count

    @property
    def feeding(self) -> set[str]:
        """Streams that this runner feeds now."""
        return set(self._streams & self.machine.roles.keys())

    @property
    def held(self) -> dict[str, int]:
        """Topics that this runner produces now, with their epochs."""
        return self.machine.holds

    def stop(self) -> None:
        """End after the current turn; a log that does not answer is not waited for."""
        self._line.hang_up()

    @property
    def is_over(self) -> bool:
        """Whether everything that was asked for has been delivered; of what is broken, all that can come."""
        if self.until is None:
            return False
        if self.through is not None and self.through >= self.until:
            return self._is_calm
        sound = self.parts.job.wanted - self.machine.broken
        if not self._quiet or len(sound) == len(self.parts.job.wanted):
            return False
        return (not sound or self.machine.through(sound) >= self.until) and self._is_calm

    @property
    def _is_calm(self) -> bool:
        """Whether no repair is on its way: what came late here or elsewhere has reached all that rests on it."""
        machine = self.machine
        if not machine.is_settled or any(self._keeper.late.waits(stream) for stream in machine.ours):
            return False
        may_come = any(feed.repairs for feed in self.parts.feeds.values()) or machine.is_repaired
        return self._quiet or not may_come or machine.ours.issuperset(self._streams)

    # -------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Run until the end; what was delivered is committed then."""
        self._line.open()
        try:
            while not (self._line.is_hung_up or (self.is_over and await self._settled() and self.is_over)):
                await self._turn()
            if self._line.is_hung_up:
                await self._settled()
        finally:
            await self._keeper.close()

    async def _turn(self) -> None:
        if self._next is not None and await self._settled():
            await self._adopt(self._next)
        await self._take_roles()
        self._tell()
        wait_s = self._ask_feeds(self.machine.wants().feeds)
        await self._keeper.turned(self.machine)
        step = self._step()
        if not await self._append():
            await self._begin_anew()
            return
        moved = self._deliver(step) or step.advanced or step.through is not None
        if self._keeper.is_due(self.machine):
            await self._commit()
        await self._read(self.machine.wants().reads, 0.0 if moved else wait_s)

    def _tell(self) -> None:
        """Publish what is known of the nodes, not at every turn."""
        now = self.parts.now()
        if now - self._told_at >= _FACTS_S:
            self.facts, self._told_at = facts(self.machine, self._upstream), now

    async def _adopt(self, job: Job) -> None:
        """Go on with another job from the commit that was just made: all of it changes at one moment."""
        self._next, self.parts = None, dataclasses.replace(self.parts, job=job)
        self._survey()
        await self._begin_anew()
        self._roles = self._roles or self._given

    async def _take_roles(self) -> None:
        if self._roles is not None:
            self._given = roles = self._roles
            self._roles = None
            unread = self._unread()
            void = {topic: epoch for topic, epoch in roles.items() if epoch <= self._spent.get(topic, 0)}
            self.refused = void | self.machine.assign({t: epoch for t, epoch in roles.items() if t not in void})
            await self._check_lost(unread)

    def _ask_feeds(self, wanted: Mapping[str, int]) -> float:
        """Hand over what feeds have; return how long nothing new comes, in seconds."""
        wait_s, late = _IDLE_S, self._keeper.late
        for node, after in wanted.items():
            feed = self.parts.feeds.get(node)
            if feed is None:
                continue
            arrived = feed.arrived(after, CAPACITY)
            if arrived.through is not None:
                rows = None if arrived.bars is None else of_frame(arrived.bars)
                self.machine.feed(node, rows, arrived.through)
            if arrived.late is not None:  # of buckets that these bars have sealed, too
                late.put(node, of_frame(arrived.late), repairs=feed.repairs)
            late.send(node, self.machine.repair)
            wait_s = 0.0 if arrived.bars is not None else min(wait_s, arrived.wait_s)
        return wait_s

    def _step(self) -> Step:
        self.busy_since = self.parts.now()
        try:
            return self.machine.step()
        finally:
            self.busy_since = None

    async def _append(self) -> bool:
        """Write what the machine emits; return False if what it computed has to be done again.

        It rests on a stream that another produces, or on records that topics say otherwise.
        """
        attempt = 0
        self.writing_since = self.parts.now() if self.machine.outbox else None
        while self.machine.outbox and not self.machine.is_stale:
            batches = [*self.machine.outbox]
            if self.parts.trace:
                batches = [(topic, replace(batch, trace=self.parts.trace)) for topic, batch in batches]
            refused = await self._line.ask(self.parts.log.append(batches))
            if refused is None:
                if self._line.is_hung_up:
                    return False
                await asyncio.sleep(backoff(attempt, _FIRST_S, _LONGEST_S))
                attempt += 1
                continue
            del self.machine.outbox[: len(batches)]
            if refused:
                epochs = {topic: batch.epoch for topic, batch in reversed(batches) if topic in refused}
                streams = self.machine.refused(epochs)
                if streams:
                    return False
        self.writing_since = None
        return not self.machine.is_stale

    def _deliver(self, step: Step) -> bool:
        """Hand records over; return whether there were any."""
        if step.through is None and not step.revised and not step.delivered:
            return False
        for node, rows in step.delivered.items():
            frame = self.parts.recorded.get(node)
            if frame is not None:  # of streams that are ours too: what comes in one read with the fence was another's
                check(frame, rows, self.parts.job.plan.nodes[node].node.label)
        self._keeper.take(step, self.machine)
        return bool(step.delivered or step.revised)

    # ----------------------------------------------------------------------------- committing

    async def _settled(self) -> bool:
        """Commit; return False if what was delivered has to be done again, or nobody says that it stands."""
        if not await self._commit():
            return False
        await self._keeper.written()
        return True

    async def _commit(self) -> bool:
        """Begin to commit what stands; return False if it does not."""
        if not await self._confirm():
            return False
        await self._keeper.written()
        self._keeper.cut(self.machine)
        self.facts = facts(self.machine, self._upstream)
        return True

    async def _begin_anew(self) -> None:
        """Forget what is not committed: it may rest on bars that nobody else has seen.

        What was written under the epochs of now may be in topics or not; so they are given back for newer ones.
        """
        await self._keeper.written()
        self.writing_since = None
        self._spent |= self.machine.holds
        self.refused = {**self.refused, **self.machine.holds}
        self.machine = self._resumed()

    def _unread(self) -> set[str]:
        """Return streams of which the log has not shown that what was written came before any newer epoch."""
        machine = self.machine
        if self.parts.log.refuses:
            return set()
        return {n for n in machine.ours & self._streams if machine.readers[n].sequence.last < machine.known(n).last}

    async def _check_lost(self, unread: Collection[str]) -> bool:
        """Begin anew if such a stream is another's by now, or topics say what was not delivered; return whether."""
        lost = self.machine.is_stale or not self.machine.ours.issuperset(unread)
        if lost:
            await self._begin_anew()
        return lost

    async def _confirm(self) -> bool:
        """Read back what was written: only then it stands; return False if it does not, or nobody says so yet."""
        self.writing_since = self.parts.now()
        while not self.machine.is_confirmed:
            if not await self._append() or (self._line.is_hung_up and self.trouble.reason):
                await self._begin_anew()
                return False
            if self.machine.is_in_doubt:
                return False
            if await self._read(self.machine.wants().reads, _IDLE_S):
                return False
        self.writing_since = None
        return True

    async def _read(self, wanted: Mapping[str, int], wait_s: float) -> bool:
        """Take what topics have; return whether everything had to begin anew for it."""
        found = await self._line.read(wanted, wait_s, is_urged=self._roles is not None)
        self._quiet = found is not None and not found and (self._quiet or bool(wanted))
        if found:
            unread = self._unread()
            self.machine.take(found, wanted)
            return await self._check_lost(unread)
        if found is None:
            await asyncio.sleep(_FIRST_S)
        return False
