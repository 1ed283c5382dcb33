"""Keeps what a loop delivers: accounts trade it, and it is committed with a checkpoint, beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from qmtl.live.checkpoint import Checkpoint
from qmtl.live.job import Step
from qmtl.live.late import Late
from qmtl.live.machine import Machine
from qmtl.live.pace import Pace
from qmtl.live.parts import Parts
from qmtl.live.pending import Pending
from qmtl.live.run_record import Turn
from qmtl.live.run_store import Commit


class Keeper:
    """See the module.

    A commit is a *cut*: the state of the machine and of the accounts at one moment, with everything that was delivered
    before it. The cut is made between two turns of the loop; a thread writes it while the loop goes on. One is written
    at a time, so what waits is bounded by the pace.

    Parameters
    ----------
    parts : Parts
        Accounts, store and clock.
    streams : collection of str
        Ids of the streams.
    pace : Pace
        How often.

    Attributes
    ----------
    through : int or None
        Everything that ends at or before it was delivered, seconds UTC.
    late : Late
        Bars that came too late, until they are committed.
    """

    def __init__(self, parts: Parts, streams: Collection[str], pace: Pace) -> None:
        self._store, self._papers, self._now, self._pace = parts.store, parts.papers, parts.now, pace
        self._blank = {strategy_id: paper.snapshot() for strategy_id, paper in parts.papers.items()}
        self._writing: asyncio.Task[None] | None = None
        self.late = Late()
        self._forget(streams)
        self.through: int | None = None

    def _forget(self, streams: Collection[str]) -> None:
        self._pending, self._has_news = Pending(frozenset(streams)), False

    def resumed(self, streams: Collection[str]) -> bytes | None:
        """Go back to the last commit, which is written; return the snapshot of the machine in it."""
        saved = Checkpoint.of(self._store.load())
        for strategy_id, paper in self._papers.items():
            paper.restore(saved.papers.get(strategy_id, self._blank[strategy_id]))
        self._forget(streams)
        self._pace.anew()
        self.late.again()
        self.through = saved.through
        return saved.machine

    def take(self, step: Step, machine: Machine) -> None:
        """Take what a step delivered, and trade it."""
        self._pending.add(step, self.through or 0 if step.through is None else step.through)
        self.through = self.through if step.through is None else step.through
        for strategy_id, paper in self._papers.items():  # one may be further than another
            through = machine.through((paper.terms.stream_id, paper.terms.node_id))
            self._pending.traded(strategy_id, paper.take(step.delivered, through))
        self._pace.delivered(sum(map(len, step.delivered.values())))
        self._has_news = True

    # ----------------------------------------------------------------------------- committing

    def is_due(self, machine: Machine) -> bool:
        """Whether it is time to cut: what was written has been read back, or it is worth waiting for that.

        Raises
        ------
        WriteError
            The last commit was not written.
        """
        if self._writing is not None and self._writing.done():
            self._writing.result()
        now = self._now()
        if not (self._has_news and self._pace.is_due(now, has_orders=self._pending.has_orders)):
            return False
        return machine.is_confirmed or self._pace.is_pressing(now)

    async def turned(self, machine: Machine) -> None:
        """Write down from which upstreams nodes are computed now, before anybody sees what comes of it."""
        if machine.turns:
            await self.written()
            turns = [Turn(node, last, machine.job.upstreams) for node, last in machine.turns]
            await asyncio.to_thread(self._store.turned, turns)
            machine.turns.clear()

    def cut(self, machine: Machine) -> None:
        """Begin to commit what was delivered; the commit before has to be written."""
        papers = {strategy_id: paper.snapshot() for strategy_id, paper in self._papers.items()}
        checkpoint = Checkpoint(machine.snapshot(), papers, self.through)
        for stream, rows in self.late.committed():
            self._pending.late(stream, rows)
        made = self._pending.commit(checkpoint.encoded())
        self._forget(self._pending.streams)
        self._pace.began(self._now())
        self._writing = asyncio.create_task(self._write(made))
        # Its failure is nobody's surprise, also if nobody asks any more.
        self._writing.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _write(self, made: Commit) -> None:
        began = self._now()
        await asyncio.to_thread(self._store.commit, made)
        self._pace.ended(began, self._now())

    async def written(self) -> None:
        """Wait until what was cut is durable.

        Raises
        ------
        WriteError
            It is not.
        """
        if self._writing is not None:
            await self._writing

    async def close(self) -> None:
        """Let a commit that is being written come to its end; what ends the loop is told by others."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
