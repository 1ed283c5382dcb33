"""A runner's loop: feeds and topics in, computing, topics and the run's store out. The shell around the machine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from qmtl.backoff import backoff
from qmtl.errors import DataFormatError, UnavailableError
from qmtl.frame import Frame
from qmtl.interval import format_time
from qmtl.live.checkpoint import Checkpoint
from qmtl.live.facts import facts
from qmtl.live.late import Late
from qmtl.live.machine import CAPACITY, Job, Machine, Step
from qmtl.live.paper import Paper
from qmtl.live.pending import Pending
from qmtl.live.rows import Rows
from qmtl.live.run_store import RunStore
from qmtl.ports.record_log import Entry, RecordLog
from qmtl.streams.feed import Feed
from qmtl.telemetry.logs import logger

#: Entries that one turn reads from all topics together.
_ENTRIES = 64
#: An idle loop looks around at least so often, in seconds; what comes from outside wakes it.
_IDLE_S = 0.5
#: One that has been woken waits no longer than this, in seconds.
_SOON_S = 0.01
#: Facts for others are made anew at most so often, in seconds.
_FACTS_S = 0.1
#: Waits of a loop whose log does not answer, in seconds.
_FIRST_S, _LONGEST_S = 0.05, 1.0
#: A loop that is told to stop waits so long for an answer of the log, in seconds.
_LAST_S = 1.0

T = TypeVar("T")

_log = logger("live")


@dataclass(frozen=True)
class Parts:
    """What a loop works with.

    Attributes
    ----------
    job : Job
        What to compute.
    log : RecordLog
        The records of topics.
    feeds : mapping of stream id to Feed
        Streams that this runner can produce.
    recorded : mapping of stream id to Frame
        What this runner holds of streams: what their topics say has to be the same.
    papers : mapping of strategy id to Paper
        Accounts.
    store : RunStore
        Outputs, journal and checkpoints.
    trace : str
        W3C trace context of what this runner writes.
    now : callable
        Seconds of a clock that never goes back.
    """

    job: Job
    log: RecordLog
    feeds: Mapping[str, Feed]
    recorded: Mapping[str, Frame]
    papers: Mapping[str, Paper]
    store: RunStore
    trace: str = ""
    now: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class Trouble:
    """Why a loop does not get on, and since when."""

    reason: str = ""
    since: float = 0.0

    def told(self, reason: str, now: float) -> None:
        """Note a reason; it began when there was none before."""
        if not self.reason:
            self.since = now
        self.reason = reason

    def over(self) -> None:
        """Forget it."""
        self.reason = ""


@dataclass(slots=True)
class Pace:
    """How often a loop commits: after so many bars, so many seconds, or an order, whichever is first.

    But commits take no more than a ``share`` of the time: whoever is killed decides the same orders again.
    """

    bars: int = 10_000
    seconds: float = 1.0
    share: float = 0.04
    _bars: int = 0
    _at: float = field(default=0.0)
    _not_before: float = field(default=0.0)

    def is_due(self, now: float, *, has_orders: bool) -> bool:
        """Say whether it is time, with something to commit."""
        wanted = has_orders or self._bars >= self.bars or now - self._at >= self.seconds
        return wanted and now >= self._not_before

    def delivered(self, bars: int) -> None:
        """Count bars."""
        self._bars += bars

    def committed(self, began: float, now: float) -> None:
        """Note a commit, and how long it took."""
        self._bars, self._at = 0, now
        self._not_before = now + (now - began) / self.share


class Loop:
    """Carries one machine on until it is stopped or everything up to ``until`` was delivered.

    ``assign`` and ``stop`` may be called by other threads. What it has delivered is committed with a checkpoint, orders
    before anything they cause: whenever it is killed, the next life goes on from the last commit.
    """

    def __init__(self, parts: Parts, *, until: int | None = None, pace: Pace | None = None) -> None:
        self.parts, self.until = parts, until
        self._pace = pace or Pace()
        self._streams = frozenset(stream.node_id for stream in parts.job.plan.dag.streams)
        self._upstream = {node: parts.job.plan.streams(node) for node in parts.job.plan.nodes}
        self._pending = Pending(self._streams)
        self._roles: Mapping[str, int] | None = None
        self._given: Mapping[str, int] = {}
        self._next: Job | None = None
        self._stopping = threading.Event()
        self._home: asyncio.AbstractEventLoop | None = None
        self._patience: asyncio.Timeout | None = None
        self._rest: asyncio.Timeout | None = None
        self._blank = {strategy_id: paper.snapshot() for strategy_id, paper in parts.papers.items()}
        self._spent: dict[str, int] = {}
        self._has_news = False
        self._quiet = False
        self.trouble = Trouble()
        #: Since when the log has not said whether it has what was written; None when it has.
        self.writing_since: float | None = None
        #: When the computation that runs now began; None between computations.
        self.busy_since: float | None = None
        self.through: int | None = None
        self._late = Late()
        #: Topics whose log knows a newer epoch than the one that was given.
        self.refused: Mapping[str, int] = {}
        self.machine = self._resumed()
        #: What is known of each node, at most so old as a turn and :data:`_FACTS_S`.
        self.facts = facts(self.machine, self._upstream)
        self._told_at = parts.now()

    def _resumed(self) -> Machine:
        """Return a machine that goes on from the last commit; accounts go back to it too."""
        saved = Checkpoint.of(self.parts.store.load())
        for strategy_id, paper in self.parts.papers.items():
            paper.restore(saved.papers.get(strategy_id, self._blank[strategy_id]))
        self.through = saved.through
        return Machine(self.parts.job, snapshot=saved.machine)

    # ---------------------------------------------------------------------------- from outside

    def assign(self, roles: Mapping[str, int]) -> None:
        """Say which topics this runner produces, with their epochs; taken over at the next turn, which is now."""
        self._roles = roles
        self._soon(self._wake)

    def replace(self, job: Job) -> None:
        """Run another job of the same strategies from the next commit on; to be called in the loop's own thread."""
        self._next = job
        self._wake()

    @property
    def late(self) -> int:
        """How many bars came too late."""
        return self._late.count

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
        self._stopping.set()
        self._soon(self._hurry)

    def _soon(self, call: Callable[[], None]) -> None:
        if self._home is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._home.call_soon_threadsafe(call)

    def _wake(self) -> None:
        if self._rest is not None:
            self._rest.reschedule(0.0)

    def _hurry(self) -> None:
        self._wake()
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + _LAST_S)

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
        if not machine.is_settled or any(self._late.waits(stream) for stream in machine.ours):
            return False
        may_come = any(feed.repairs for feed in self.parts.feeds.values()) or machine.is_repaired
        return self._quiet or not may_come or machine.ours.issuperset(self._streams)

    # -------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Run until the end; what was delivered is committed then."""
        self._home = asyncio.get_running_loop()
        while not (self._stopping.is_set() or (self.is_over and await self._settled() and self.is_over)):
            await self._turn()
        if self._stopping.is_set():
            await self._settled()

    async def _settled(self) -> bool:
        """Commit; return False if what was delivered has to be done again, or nobody says that it stands."""
        if not await self._confirm():
            return False
        self.commit()
        return True

    async def _turn(self) -> None:
        if self._next is not None and await self._settled():
            self._adopt(self._next)
        self._take_roles()
        self._tell()
        wants = self.machine.wants()
        if wants.seeks:
            self.machine.sought(await self._told(self.parts.log.seek(wants.seeks)) or {})
        wait_s = self._ask_feeds(wants.feeds)
        step = self._step()
        if not await self._append():
            self._begin_anew()
            return
        moved = self._deliver(step) or step.advanced or step.through is not None
        if self._has_news and self._pace.is_due(self.parts.now(), has_orders=self._pending.has_orders):
            await self._settled()
        await self._read(self.machine.wants().reads, 0.0 if moved else wait_s)

    def _tell(self) -> None:
        """Publish what is known of the nodes, not at every turn."""
        now = self.parts.now()
        if now - self._told_at >= _FACTS_S:
            self.facts, self._told_at = facts(self.machine, self._upstream), now

    def _adopt(self, job: Job) -> None:
        """Go on with another job from the commit that was just made: all of it changes at one moment."""
        self._next, self.parts = None, dataclasses.replace(self.parts, job=job)
        self._streams = frozenset(stream.node_id for stream in job.plan.dag.streams)
        self._upstream = {node: job.plan.streams(node) for node in job.plan.nodes}
        self._begin_anew()
        self._roles = self._roles or self._given

    def _take_roles(self) -> None:
        if self._roles is not None:
            self._given = roles = self._roles
            self._roles = None
            unread = self._unread()
            void = {topic: epoch for topic, epoch in roles.items() if epoch <= self._spent.get(topic, 0)}
            self.refused = void | self.machine.assign({t: epoch for t, epoch in roles.items() if t not in void})
            self._check_lost(unread)

    def _ask_feeds(self, wanted: Mapping[str, int]) -> float:
        """Hand over what feeds have; return how long nothing new comes, in seconds."""
        wait_s = _IDLE_S
        for node, after in wanted.items():
            feed = self.parts.feeds.get(node)
            if feed is None:
                continue
            arrived = feed.arrived(after, CAPACITY)
            if arrived.through is not None:
                rows = None if arrived.bars is None else of_frame(arrived.bars)
                self.machine.feed(node, rows, arrived.through)
            if arrived.late is not None:  # of buckets that these bars have sealed, too
                self._late.put(node, of_frame(arrived.late), repairs=feed.repairs)
            self._late.send(node, self.machine.repair)
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
            refused = await self._told(self.parts.log.append(batches))
            if refused is None:
                if self._stopping.is_set():
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

    def _begin_anew(self) -> None:
        """Forget what is not committed: it may rest on bars that nobody else has seen.

        What was written under the epochs of now may be in topics or not; so they are given back for newer ones.
        """
        self._pending, self._has_news, self.writing_since = Pending(self._streams), False, None
        self._spent |= self.machine.holds
        self.refused = {**self.refused, **self.machine.holds}
        self._late.again()
        self.machine = self._resumed()

    def _unread(self) -> set[str]:
        """Return streams of which the log has not shown that what was written came before any newer epoch."""
        machine = self.machine
        if self.parts.log.refuses:
            return set()
        return {n for n in machine.ours & self._streams if machine.readers[n].sequence.last < machine.known(n).last}

    def _check_lost(self, unread: Collection[str]) -> bool:
        """Begin anew if such a stream is another's by now, or topics say what was not delivered; return whether."""
        lost = self.machine.is_stale or not self.machine.ours.issuperset(unread)
        if lost:
            self._begin_anew()
        return lost

    async def _confirm(self) -> bool:
        """Read back what was written: only then it stands; return False if it does not, or nobody says so yet."""
        self.writing_since = self.parts.now()
        while not self.machine.is_confirmed:
            if not await self._append() or (self._stopping.is_set() and self.trouble.reason):
                self._begin_anew()
                return False
            if self.machine.is_in_doubt:
                return False
            seeks = self.machine.wants().seeks
            if seeks:
                self.machine.sought(await self._told(self.parts.log.seek(seeks)) or {})
            if await self._read(self.machine.wants().reads, _IDLE_S):
                return False
        self.writing_since = None
        return True

    async def _read(self, wanted: Mapping[str, int], wait_s: float) -> bool:
        """Take what topics have; return whether everything had to begin anew for it."""
        found = await self._found(wanted, wait_s)
        self._quiet = found is not None and not found and (self._quiet or bool(wanted))
        if found:
            unread = self._unread()
            self.machine.take(found)
            return self._check_lost(unread)
        if found is None:
            await asyncio.sleep(_FIRST_S)
        return False

    async def _found(self, wanted: Mapping[str, int], wait_s: float) -> Mapping[str, Sequence[Entry]] | None:
        """Wait for entries, but not when something comes from outside."""
        if self._roles is not None or self._stopping.is_set():
            wait_s = min(wait_s, _SOON_S)
        try:
            async with asyncio.timeout(None) as self._rest:
                if wanted:
                    return await self._told(self.parts.log.read(wanted, _ENTRIES, wait_s))
                await asyncio.sleep(wait_s)
        except TimeoutError:
            pass  # woken
        finally:
            self._rest = None
        return {}

    async def _told(self, call: Awaitable[T]) -> T | None:
        """Return what the log answers, or None when it does not: that is said, and tried again later."""
        try:
            async with asyncio.timeout(_LAST_S if self._stopping.is_set() else None) as self._patience:
                answer = await call
        except (UnavailableError, TimeoutError) as error:
            why = str(error) or "it has not answered before the end"
            if not self.trouble.reason:
                _log.warning("the log does not answer", why=why)
            self.trouble.told(why, self.parts.now())
            return None
        finally:
            self._patience = None
        self.trouble.over()
        return answer

    # ------------------------------------------------------------------------------- delivering

    def _deliver(self, step: Step) -> bool:
        """Hand records over; return whether there were any."""
        if step.through is None and not step.revised and not step.delivered:
            return False
        for node, rows in step.delivered.items():
            self._check(node, rows)
        self._pending.add(step, self.through or 0 if step.through is None else step.through)
        self.through = self.through if step.through is None else step.through
        for strategy_id, paper in self.parts.papers.items():  # one may be further than another
            through = self.machine.through((paper.terms.stream_id, paper.terms.node_id))
            self._pending.traded(strategy_id, paper.take(step.delivered, through))
        self._pace.delivered(sum(map(len, step.delivered.values())))
        self._has_news = True
        return bool(step.delivered or step.revised)

    def _check(self, node: str, rows: Rows) -> None:
        """Compare what a topic says of a stream with what this runner holds of it."""
        frame = self.parts.recorded.get(node)
        if frame is None:  # of streams that are ours too: what comes in one read with the fence was another's
            return
        differs = _differing(frame, rows)
        if differs is not None:
            label = self.parts.job.plan.nodes[node].node.label
            raise DataFormatError(
                f"stream {label!r} has other bars in its queue than here, the first at {format_time(differs)}",
                hint="another runner feeds this stream with other data: tell them apart by tags= or source=, "
                "or use a Gateway of your own",
            )

    def commit(self) -> None:
        """Write what is pending with a checkpoint, in one transaction."""
        began = self.parts.now()
        papers = {strategy_id: paper.snapshot() for strategy_id, paper in self.parts.papers.items()}
        checkpoint = Checkpoint(self.machine.snapshot(), papers, self.through)
        for stream, rows in self._late.committed():
            self._pending.late(stream, rows)
        self.parts.store.commit(self._pending.commit(checkpoint.encoded()))
        self.facts = facts(self.machine, self._upstream)
        self._pending, self._has_news = Pending(self._streams), False
        self._pace.committed(began, self.parts.now())


def _differing(frame: Frame, rows: Rows) -> int | None:
    """Return the first bucket that both have with different bits."""
    at = np.minimum(frame.ts.searchsorted(rows.ts), len(frame) - 1)
    both = frame.ts[at] == rows.ts
    for name, column in zip(rows.fields, rows.values, strict=True):
        if name in frame.columns:
            other = np.ascontiguousarray(frame.columns[name][at]).view(np.int64)
            differs = both & (other != np.ascontiguousarray(column).view(np.int64)).any(axis=1)
            if differs.any():
                return int(rows.ts[int(np.argmax(differs))])
    return None


def of_frame(frame: Frame) -> Rows:
    """Return bars as records: fields in the order of their names, whoever has them."""
    return Rows.made(frame.ts, {name: frame.columns[name] for name in sorted(frame.columns)})
