"""Contenders run against each other in one run: started one after the other, then timed in turns.

Each contender is a process of its own environment that has imported, loaded and warmed up before the
first turn, and then sleeps on its input until it is told to go. One turn of everybody is a round, and
the order moves by one every round: what the machine does meanwhile hits all alike.
"""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.environments import CACHE, Environment, SetupError

CONTENDERS = Path(__file__).resolve().parents[1] / "contenders"
TURN_TIMEOUT_S = 900.0


class ContenderError(RuntimeError):
    """A contender stopped or went silent; the message is the end of what it wrote to its error stream."""


@dataclass(frozen=True)
class Contender:
    """One script of ``contenders/`` in one environment."""

    name: str
    environment: Environment
    script: str
    variant: str = ""
    bars: int | None = None
    """Bars of its own, for contenders too slow for everybody's; times are compared per bar."""


@dataclass
class Outcome:
    """What one contender measured."""

    name: str
    bars: int
    runs_s: list[float] = field(default_factory=list)
    told: list[dict[str, float]] = field(default_factory=list)
    """What each turn has measured itself."""
    first_s: float | None = None
    """First call in a fresh process: compiling included."""
    peak_mb: float | None = None
    check: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def median_s(self) -> float:
        """Median of the runs, s; NaN when it failed."""
        return statistics.median(self.runs_s) if self.runs_s else float("nan")

    @property
    def per_bar_us(self) -> float:
        """Median per bar, microseconds; NaN when it failed."""
        return self.median_s / self.bars * 1e6

    def document(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return {**vars(self), "median_s": self.median_s, "per_bar_us": self.per_bar_us}


class Worker:
    """The process of one contender, between its start and its last turn."""

    def __init__(self, contender: Contender, data: Path) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._errors: IO[bytes] = tempfile.TemporaryFile(dir=CACHE)  # noqa: SIM115 - lives as long as the process
        command = [str(contender.environment.python()), str(CONTENDERS / contender.script), str(data)]
        command += [contender.variant] if contender.variant else []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )

    def hear(self) -> dict[str, Any]:
        """Next message of the process. Raises ContenderError when there is none."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], TURN_TIMEOUT_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            silent = self._process.poll() is None and not ready
            self.stop()
            raise ContenderError(f"silent for {TURN_TIMEOUT_S:.0f} s" if silent else self._last_words())
        message: dict[str, Any] = json.loads(line)
        return message

    def go(self) -> dict[str, float]:
        """One timed turn: its ``seconds``, and what it has measured itself."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        return self.hear()

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return text.splitlines()[-1] if text else f"stopped without a word, exit code {self._process.returncode}"


def race(contenders: Sequence[Contender], data: Mapping[int, Path], bars: int, repeats: int) -> list[Outcome]:
    """Let `contenders` run `repeats` rounds over `data[bars]`; a contender that fails is reported, not raised."""
    outcomes = [Outcome(c.name, c.bars or bars) for c in contenders]
    workers: dict[int, Worker] = {}
    try:
        for i, contender in enumerate(contenders):
            print(f"  warming up {contender.name}", file=sys.stderr, flush=True)
            _start(contender, data[outcomes[i].bars], outcomes[i], workers, i)
        for turn in range(repeats):
            for i in _rotated(list(workers), turn):
                try:
                    told = workers[i].go()
                    outcomes[i].runs_s.append(told.pop("seconds"))
                    outcomes[i].told.append(told)
                except ContenderError as failure:
                    outcomes[i].error = str(failure)
                    del workers[i]
    finally:
        for worker in workers.values():
            worker.stop()
    return outcomes


def _start(contender: Contender, data: Path, outcome: Outcome, workers: dict[int, Worker], i: int) -> None:
    try:
        worker = Worker(contender, data)
        ready = worker.hear()
    except (ContenderError, SetupError) as failure:
        outcome.error = str(failure)
        print(f"  {contender.name} failed: {outcome.error}", file=sys.stderr, flush=True)
        return
    outcome.first_s, outcome.peak_mb = ready["first_s"], ready["peak_mb"]
    outcome.check, outcome.packages = ready["check"], ready["packages"]
    workers[i] = worker


def _rotated(order: list[int], by: int) -> list[int]:
    return order[by % len(order) :] + order[: by % len(order)] if order else []
