"""Somebody who knows nothing of us and writes bars into a topic of Kafka, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pandas as pd
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stack.process import HERE, Server
from stack.waiting import pause

_TURNS_A_SECOND = 20


async def write(address: str, topic: str, path: str, rate: int) -> None:
    """Write so many bars a second, each final, until there are no more."""
    producer = Producer({"bootstrap.servers": address, "acks": "all", "linger.ms": 1})
    for number, row in enumerate(pd.read_parquet(path).to_dict("records")):
        producer.produce(topic, json.dumps(row), partition=0)
        if number % (rate // _TURNS_A_SECOND) == 0:
            producer.poll(0)
            await pause(1 / _TURNS_A_SECOND)
    assert producer.flush(20) == 0


class Outsider:
    """The process and its topic, as a test sees them."""

    def __init__(self, server: Server) -> None:
        self._server, self.topic = server, f"bars-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": server.address})
        # The bars are years old: a topic that keeps a week would lose them under the test.
        made = NewTopic(self.topic, 1, 1, config={"retention.ms": "-1"})
        admin.create_topics([made])[self.topic].result(timeout=20)
        self._processes: list[subprocess.Popen] = []

    @property
    def url(self) -> str:
        """What a runner is given."""
        return f"{self._server.url}/{self.topic}?closed=true&grace=never"

    def write(self, path: Path, rate: int) -> None:
        """Begin to write the bars of a file, so many a second."""
        command = [sys.executable, "-m", "stack.outsider", self._server.address, self.topic, str(path), str(rate)]
        self._processes.append(subprocess.Popen(command, cwd=HERE.parent))

    def written(self) -> None:
        """Wait until everything is written."""
        for process in self._processes:
            assert process.wait(60) == 0

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    asyncio.run(write(*sys.argv[1:4], rate=int(sys.argv[4])))
