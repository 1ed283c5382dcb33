"""A process that appends numbered batches and says which were acknowledged, until somebody ends it."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from qmtl.backends import connect
from qmtl.errors import UnavailableError
from qmtl.testing.contracts.record_log import minute

_SIZES = (1, 1, 5, 2, 40)


async def write(url: str, topic: str, name: str) -> None:
    """Append without end; what was not acknowledged is appended again."""
    log, number = await connect.open_log(url), 0
    for size in itertools.cycle(_SIZES):
        batches = [(topic, minute(k, node=name)) for k in range(number, number + size)]
        while True:
            try:
                await log.append(batches)
            except UnavailableError:
                continue
            break
        number += size
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


class Writer:
    """The process, as a test sees it."""

    def __init__(self, folder: Path, url: str, topic: str, name: str) -> None:
        self.name, self._told = name, folder / f"writer-{name}"
        with self._told.open("wb") as told:
            command = [sys.executable, __file__, url, topic, name]
            self.process = subprocess.Popen(command, stdout=told, stderr=sys.stderr)

    @property
    def acknowledged(self) -> int:
        """How many batches were acknowledged; a line that is not whole does not count."""
        lines = self._told.read_text().rpartition("\n")[0].split()
        return int(lines[-1]) if lines else 0

    def kill9(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def first_seen(numbers: Iterable[int]) -> int:
    """Return how many numbers there are; each is first seen behind all before it."""
    count = 0
    for number in numbers:
        assert number <= count, f"{number} came before {count}"
        count += number == count
    return count


if __name__ == "__main__":
    asyncio.run(write(*sys.argv[1:]))
