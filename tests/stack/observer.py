"""Somebody who reads every topic from its beginning and counts what is missing, doubled and out of order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qmtl.backends.connect import open_log
from qmtl.errors import UnavailableError
from qmtl.live.sequence import Sequence
from qmtl.ports.record_log import Entry
from qmtl.wire.client import GatewayClient
from qmtl.wire.sessions import Beat


class Seen(NamedTuple):
    """Records that arrived: when, under which epoch, how far they go."""

    at: float
    epoch: int
    last: int


class Counts(NamedTuple):
    missing: int
    doubled: int
    disordered: int


def named_topics(client: GatewayClient) -> dict[str, str]:
    """Return the topic of every node that has a name."""
    nodes = [node for one in client.strategies() for node in client.strategy(one["strategy_id"])["nodes"]]
    return {node["name"]: node["topic"] for node in nodes if node["name"]}


class Observer(threading.Thread):
    """Reads topics in a thread of its own until it is ended; ``url`` is the log's."""

    def __init__(self, url: str, topics: list[str]) -> None:
        super().__init__(name="observer", daemon=True)
        self._url, self.topics = url, topics
        self._sequences = {topic: Sequence() for topic in topics}
        self.buckets: dict[str, list[np.ndarray]] = {topic: [] for topic in topics}
        self.seen: dict[str, list[Seen]] = {topic: [] for topic in topics}
        self._positions = dict.fromkeys(topics, 0)
        self._ended = threading.Event()

    @classmethod
    def at(cls, client: GatewayClient, topics: list[str]) -> Observer:
        """Return one that reads already, where a Gateway says that topics are."""
        made = cls(client.attend(Beat("observer")).broker_url, topics)
        made.start()
        return made

    def run(self) -> None:
        asyncio.run(self._read())

    async def _read(self) -> None:
        log = await open_log(self._url)
        while not self._ended.is_set():
            try:
                found = await log.read(self._positions, 256, 0.05)
            except UnavailableError:
                continue
            for topic, entries in found.items():
                for entry in entries:
                    self._take(topic, entry)
        await log.close()

    def _take(self, topic: str, entry: Entry) -> None:
        self._positions[topic] = entry.next
        rows = self._sequences[topic].take(entry.batch)
        if rows is not None:
            self.buckets[topic].append(rows.ts)
            self.seen[topic].append(Seen(time.monotonic(), entry.batch.epoch, int(rows.ts[-1])))

    def last(self, topic: str) -> int:
        """Return the last bucket of a topic, or one before all."""
        seen = self.seen[topic]
        return seen[-1].last if seen else -1

    def epoch(self, topic: str) -> int:
        """Return the epoch of its last records, 0 before any."""
        seen = self.seen[topic]
        return seen[-1].epoch if seen else 0

    def handed_over(self, topic: str, epoch: int) -> float | None:
        """Return when the first records came under a newer epoch."""
        return next((one.at for one in [*self.seen[topic]] if one.epoch > epoch), None)

    def counts(self, expected: Mapping[str, np.ndarray]) -> Counts:
        """Compare with the buckets that each topic should have."""
        missing = doubled = disordered = 0
        for topic, buckets in expected.items():
            found = np.concatenate([*self.buckets[topic], np.zeros(0, np.int64)])
            missing += len(np.setdiff1d(buckets, found))
            doubled += len(found) - len(np.unique(found))
            disordered += int((np.diff(found) < 0).sum())
        return Counts(missing, doubled, disordered)

    def end(self) -> None:
        self._ended.set()
        self.join(10.0)
