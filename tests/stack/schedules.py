"""A world without processes: machines and a log that a seeded scheduler crashes, freezes, cuts off and delays."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

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
        self.fences = fences

    def append(self, batches) -> set[str]:
        refused = set()
        for topic, batch in batches:
            entries = self.topics.setdefault(topic, [])
            if self.fences and any(one.epoch > batch.epoch for one in entries):
                refused.add(topic)
            else:
                entries.append(batch)
        return refused

    def read(self, positions, limit):
        found = {}
        for topic, position in positions.items():
            entries = self.topics.get(topic, [])[position : position + limit]
            if entries:
                found[topic] = [Entry(position + k + 1, batch) for k, batch in enumerate(entries)]
        return found

    def seek(self, buckets):
        positions = {}
        for topic, bucket in buckets.items():
            entries = self.topics.get(topic, [])
            behind = (k for k, one in enumerate(entries) if one.span is not None and one.span[1] >= bucket)
            positions[topic] = 0 if bucket == NONE else next(behind, len(entries))
        return positions


@dataclass
class Runner:
    """A process with its machine, and what it was given."""

    name: str
    machine: Machine
    delivered: dict[str, list] = field(default_factory=dict)
    beat_at: int = 0
    frozen_until: int = 0
    cut_until: int = 0
    flushing: list = field(default_factory=list)

    def deliver(self, step) -> None:
        for node, rows in step.delivered.items():
            self.delivered.setdefault(node, []).append(rows)


class World:
    """Runs machines of several strategies over recorded bars under a seed."""

    def __init__(self, seed, jobs, roster, bars, *, fences) -> None:
        self.random, self.log, self.roster = random.Random(seed), Log(fences), roster
        self.jobs: dict[str, Job] = jobs
        self.bars: dict[str, Rows] = bars
        self.runners: dict[str, Runner] = {}
        self.now, self.counted, self.started = 0, {}, 0

    def start(self, strategy: str) -> None:
        self.started += 1
        runner = Runner(f"{strategy}-{self.started}", Machine(self.jobs[strategy]), beat_at=self.now)
        self.runners[runner.name] = runner
        self.roster.join(runner.name, set(self.jobs[strategy].topics.values()), self.now)

    def fault(self) -> None:
        """Do one bad thing to one runner."""
        kind = self.random.choice(("crash", "freeze", "freeze", "cut", "leave"))
        self.counted[kind] = self.counted.get(kind, 0) + 1
        runner = self.random.choice([*self.runners.values()])
        if kind == "freeze":
            runner.frozen_until = self.now + self.random.randrange(3 * TIMEOUT)
        elif kind == "cut":
            runner.cut_until = self.now + self.random.randrange(3 * TIMEOUT)
        else:
            del self.runners[runner.name]
            if kind == "leave":
                self.roster.leave(runner.name)
            self.start(runner.name.partition("-")[0])

    def tick(self) -> None:
        """Let one runner do one thing."""
        self.now += 1
        self.roster.expire(self.now)
        awake = [one for one in self.runners.values() if one.frozen_until <= self.now]
        if awake:
            runner = self.random.choice(awake)
            self.random.choice((self.beat, self.read, self.feed, self.step, self.flush))(runner)

    def beat(self, runner: Runner) -> None:
        if runner.cut_until <= self.now:
            if not self.roster.knows(runner.name):
                self.roster.join(runner.name, {*runner.machine.job.topics.values()}, self.now)
            runner.machine.assign(self.roster.beat(runner.name, self.now))

    def read(self, runner: Runner) -> None:
        wants = runner.machine.wants()
        if wants.seeks:
            runner.machine.sought(self.log.seek(wants.seeks))
        runner.machine.take(self.log.read(wants.reads, self.random.randrange(1, 8)))

    def feed(self, runner: Runner) -> None:
        for node, after in runner.machine.wants().feeds.items():
            later = self.bars[node].after(after).part(0, self.random.randrange(1, 6))
            if len(later):
                runner.machine.feed(node, later, int(later.ts[-1]) + MINUTE)

    def step(self, runner: Runner) -> None:
        if not runner.flushing and not runner.machine.outbox:
            runner.deliver(runner.machine.step())

    def flush(self, runner: Runner) -> None:
        """Append some of what waits: a crash or a freeze may come between two topics."""
        runner.flushing += runner.machine.outbox
        runner.machine.outbox.clear()
        count = self.random.randrange(len(runner.flushing) + 1)
        part, runner.flushing = runner.flushing[:count], runner.flushing[count:]
        epochs = {topic: batch.epoch for topic, batch in reversed(part)}
        runner.machine.refused({topic: epochs[topic] for topic in self.log.append(part)})

    def settle(self, turns: int = 400) -> None:
        """Let everybody work undisturbed until nothing moves."""
        for runner in self.runners.values():
            runner.frozen_until = runner.cut_until = 0
        for _ in range(turns):
            self.now += 1
            self.roster.expire(self.now)
            for runner in self.runners.values():
                self.beat(runner)
                self.read(runner)
                self.feed(runner)
                while runner.machine.outbox or runner.flushing:
                    self.flush(runner)
                self.step(runner)


def joined(rows: list[Rows]) -> Rows:
    """Return deliveries as one; raises where fields differ."""
    return Rows.joined(rows) if rows else Rows.none()


def same(a: Rows, ts, values) -> bool:
    """Whether records are equal to the bit."""
    return np.array_equal(a.ts, ts) and a.values.tobytes() == np.ascontiguousarray(values).tobytes()
