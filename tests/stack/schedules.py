"""A world without processes: machines and a log that a seeded scheduler crashes, freezes, cuts off and delays."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from qmtl.dagmanager.roster import Roster
from qmtl.errors import UnavailableError
from qmtl.live.machine import Job, Machine
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from qmtl.ports.record_log import Entry

TIMEOUT = 50
MINUTE = 60


class Log:
    """Topics in memory; with ``fences`` it refuses what an older epoch writes, as the embedded log does."""

    def __init__(self, fences: bool) -> None:
        self.topics: dict[str, list] = {}
        self.epochs: Counter[str] = Counter()
        self.fences = fences

    def append(self, batches, stop=None) -> set[str]:
        """Append in order; fail behind ``stop`` batches, when nobody can tell what is there."""
        refused = set()
        for topic, batch in batches[:stop]:
            if self.fences and self.epochs[topic] > batch.epoch:
                refused.add(topic)
            else:
                self.epochs[topic] = max(self.epochs[topic], batch.epoch)
                self.topics.setdefault(topic, []).append(batch)
        if stop is not None:
            raise UnavailableError("the log went away", dependency="log")
        return refused

    def read(self, positions, limit):
        found = {}
        for topic, position in positions.items():
            entries = self.topics.get(topic, [])[position : position + limit]
            if entries:
                found[topic] = [Entry(position + k + 1, batch) for k, batch in enumerate(entries)]
        return found

    def truth(self, topic: str) -> Rows:
        """Return the records of a topic with all repairs, void ones left out; written to be simple."""
        epoch, revision, rows = 0, 0, Rows.none()
        for batch in self.topics.get(topic, []):
            if batch.epoch < epoch:
                continue
            epoch = batch.epoch
            if batch.revision > revision:
                revision, rows = batch.revision, rows.repaired(Rows.of(batch))
            elif len(batch) and not batch.revision:
                fresh = Rows.of(batch).between(int(rows.ts[-1]) if len(rows) else NONE, 1 << 60)
                rows = Rows.joined([rows, fresh]) if len(rows) else fresh
        return rows


@dataclass
class Runner:
    """A process with its machine, and what it was given."""

    name: str
    job: str
    machine: Machine
    delivered: dict[str, list[Rows]] = field(default_factory=dict)
    revised: list[tuple[str, int, Rows]] = field(default_factory=list)
    frozen_until: int = 0
    cut_until: int = 0
    flushing: list = field(default_factory=list)
    checkpoint: tuple = ()
    refused: dict[str, int] = field(default_factory=dict)
    reading: tuple = ()
    blind: frozenset[str] = frozenset()

    def deliver(self, step) -> None:
        for node, rows in step.delivered.items():
            self.delivered.setdefault(node, []).append(rows)
        self.revised += step.revised

    @property
    def is_idle(self) -> bool:
        return not self.flushing and not self.machine.outbox


class World:
    """Runs machines of several strategies over recorded bars under a seed."""

    def __init__(self, seed, jobs, bars, *, fences, timeout=TIMEOUT) -> None:
        self.timeout, self.mending = timeout, 0.0
        self.random, self.log = random.Random(seed), Log(fences)
        self.roster = self._roster(1, 0)
        self.jobs: dict[str, Job] = jobs
        self.bars: dict[str, Rows] = bars
        self.end = max(int(rows.ts[-1]) for rows in bars.values()) + MINUTE
        self.runners: dict[str, Runner] = {}
        self.now, self.counted, self.started, self.term, self.horizon = 0, Counter(), 0, 1, 0

    def _roster(self, term: int, opens: float) -> Roster:
        return Roster(self.timeout, itertools.count(term << 20), opens)

    def start(self, job: str, checkpoint: tuple = ()) -> Runner:
        self.started += 1
        name = f"{job}-{self.started}"
        if checkpoint:
            snapshot, delivered, revised = checkpoint
            machine = Machine(self.jobs[job], snapshot=snapshot)
            runner = Runner(name, job, machine, {node: [*rows] for node, rows in delivered.items()}, [*revised])
        else:
            runner = Runner(name, job, Machine(self.jobs[job]))
        self.runners[name] = runner
        return runner

    def save(self, runner: Runner) -> None:
        if runner.machine.is_confirmed:
            delivered = {node: [*rows] for node, rows in runner.delivered.items()}
            runner.checkpoint = runner.machine.snapshot(), delivered, [*runner.revised]

    # ------------------------------------------------------------------------------ faults

    def fault(self) -> None:
        """Do one bad thing."""
        kinds = (self.crash, self.freeze, self.freeze, self.cut, self.leave, self.restart, self.forget)
        kind = self.random.choice(kinds)
        self.counted[kind.__name__] += 1
        kind(self.random.choice([*self.runners.values()]))

    def crash(self, runner: Runner) -> None:
        """Kill a process; another life of it begins from nothing."""
        del self.runners[runner.name]
        self.start(runner.job)

    def restart(self, runner: Runner) -> None:
        """Kill a process; another life of it goes on from its checkpoint."""
        del self.runners[runner.name]
        self.start(runner.job, runner.checkpoint)

    def leave(self, runner: Runner) -> None:
        self.roster.leave(runner.name)
        self.restart(runner)

    def freeze(self, runner: Runner) -> None:
        runner.frozen_until = self.now + self.random.randrange(3 * TIMEOUT)

    def cut(self, runner: Runner) -> None:
        runner.cut_until = self.now + self.random.randrange(3 * TIMEOUT)

    def forget(self, _runner: Runner) -> None:
        """Restart the manager: a new term, nobody known."""
        self.term += 1
        self.roster = self._roster(self.term, self.now + TIMEOUT / 5)

    # ------------------------------------------------------------------------------- turns

    def tick(self) -> None:
        """Let one runner do one thing."""
        self.now += 1
        self.horizon += self.random.randrange(2)
        self.roster.expire(self.now)
        awake = [one for one in self.runners.values() if one.frozen_until <= self.now]
        if awake and self.random.random() < self.mending:
            self.mend(self.random.choice(awake))
        elif awake:
            turns = (
                self.beat,
                self.read,
                self.read,
                self.feed,
                self.step,
                self.step,
                self.flush,
                self.flush,
                self.save,
            )
            self.random.choice(turns)(self.random.choice(awake))

    def beat(self, runner: Runner) -> None:
        if runner.cut_until > self.now:
            return
        machine, name = runner.machine, runner.name
        if not self.roster.knows(name):
            topics = {topic for node, topic in machine.job.topics.items() if node not in runner.blind}
            self.roster.join(name, {runner.job: topics}, self.now, holds=machine.holds)
        runner.refused = machine.assign(self.roster.beat(name, self.now, refused=runner.refused))

    def read(self, runner: Runner) -> None:
        """Ask the log; sometimes the answer comes only after other things have happened."""
        asked = runner.reading
        if not asked:
            reads = runner.machine.wants().reads
            asked = self.log.read(reads, self.random.randrange(1, 8)), reads
            if self.random.random() < 0.2:
                runner.reading = asked
                return
        runner.reading = ()
        runner.machine.take(*asked)

    def feed(self, runner: Runner) -> None:
        for node, after in runner.machine.wants().feeds.items():
            bars = self.bars[node].part(0, self.horizon)
            later = bars.after(after).part(0, self.random.randrange(1, 6))
            if len(later):
                runner.machine.feed(node, later, int(later.ts[-1]) + MINUTE)
            elif len(bars) == len(self.bars[node]):
                runner.machine.feed(node, None, self.end)

    def mend(self, runner: Runner) -> None:
        """Let a bar of a sealed bucket come late, or come again with other values."""
        for node in [one for one in runner.machine.wants().feeds if self.random.random() < 0.5]:
            rows, through = self.bars[node], runner.machine.known(node).through
            if through > rows.ts[0]:
                at = self.random.randrange(int(rows.ts[0]), through, MINUTE) if through else 0
                values = np.array([self.random.random() * 100 for _ in rows.fields]).reshape(-1, 1, 1)
                runner.machine.repair(node, Rows(np.array([at]), rows.fields, values))
                self.counted["mend"] += 1

    def step(self, runner: Runner) -> None:
        if runner.machine.is_stale:
            self.counted["stale"] += 1
            self.restart(runner)
        elif runner.is_idle:
            runner.deliver(runner.machine.step())

    def flush(self, runner: Runner) -> None:
        """Append some of what waits: a crash or a freeze may come between two topics, an answer may be lost."""
        runner.flushing += runner.machine.outbox
        runner.machine.outbox.clear()
        count = self.random.randrange(len(runner.flushing) + 1)
        part, rest = runner.flushing[:count], runner.flushing[count:]
        lost = self.random.randrange(count + 1) if self.random.random() < 0.1 else None
        epochs = {topic: batch.epoch for topic, batch in reversed(part)}
        try:
            refused = self.log.append(part, lost)
        except UnavailableError:
            self.counted["unavailable"] += 1
            return  # all of it again
        runner.flushing = rest
        if refused:
            self.counted["refused"] += len(refused)
            runner.machine.refused({topic: epochs[topic] for topic in refused})

    def settle(self, turns: int = 400) -> None:
        """Let everybody work undisturbed until nothing is missing, and a little longer."""
        self.horizon = 1 << 30
        for runner in self.runners.values():
            runner.frozen_until = runner.cut_until = 0
        late = 0
        for _ in range(turns):
            self.now += 1
            self.roster.expire(self.now)
            for runner in [*self.runners.values()]:
                self.beat(runner)
                self.read(runner)
                self.feed(runner)
                while not runner.is_idle:
                    self.flush(runner)
                self.step(runner)
            late += all(r.machine.through(r.machine.job.wanted) >= self.end for r in self.runners.values())
            if late > (60 if self.mending else 5):
                return
