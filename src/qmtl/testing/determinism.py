"""Proof that other processes, hash seeds and drivers give the same bits."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping

from qmtl.errors import RunError
from qmtl.interval import FOREVER, Span
from qmtl.testing.worlds import Finding, Findings, Task, Visit, World, bounds, differences, visit, visit_as_it_is

#: Order of sets and of hashed names in the other processes.
_SEEDS = ("1", "4242")
_DEADLINE = 900.0


def check(
    address: str, data: Mapping[str, str], start: str | int | None = None, end: str | int | None = None
) -> Findings:
    """Run a strategy in processes with other hash seeds, and through both drivers, and compare the bits.

    Parameters, return value and errors are those of :func:`qmtl.testing.lookahead.check`.
    """
    task = Task(address, data, start, end)
    base = visit_as_it_is(task, World())
    others = [(f"with PYTHONHASHSEED={seed}", _elsewhere(task, World(), seed)) for seed in _SEEDS]
    others.append(("through the stream driver", visit(task, World(engine="stream"))))
    found: list[Finding] = []
    for evidence, seen in others:
        if seen.error is not None:
            found.append(Finding("not deterministic", "(the run)", None, f"failed {evidence}: {seen.error.strip()}"))
            continue
        found += differences("not deterministic", base.runs[0], seen.runs[0], Span(0, FOREVER), evidence)
    span = bounds(base)
    return Findings(f"{len(base.runs[0])} nodes, {len(span) // 86_400 + 1} days, {len(others) + 1} runs", found)


def _elsewhere(task: Task, world: World, seed: str) -> Visit:
    """Run in a new interpreter with another hash seed."""
    program = (
        "import pickle, sys; from qmtl.testing.worlds import visit; "
        "sys.stdout.buffer.write(pickle.dumps(visit(*pickle.load(sys.stdin.buffer))))"
    )
    done = subprocess.run(  # noqa: S603  (our own interpreter and program)
        [sys.executable, "-c", program],
        input=pickle.dumps((task, world)),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode:
        raise RunError(
            f"{task.address}: a run in another process failed", hint=done.stderr.decode(errors="replace")[-400:]
        )
    seen: Visit = pickle.loads(done.stdout)  # noqa: S301  (written by the process that we started)
    return seen
