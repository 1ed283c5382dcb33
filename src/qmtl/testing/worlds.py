"""Worlds that a strategy is run in, to see what its outputs depend on.

A world is a fresh process in which one thing is different: the bars after some time, the clock, the files that earlier
runs left, or the start of the run. Outputs that may not depend on that thing must be equal, to the bit, to those of
the world as it is. What a strategy reads past its inputs, such as the file of bars itself, is different there too.
"""

from __future__ import annotations

import itertools
import multiprocessing
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import numpy as np

from qmtl.errors import QmtlError, RunError, UnhashableCodeError
from qmtl.interval import Span

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

#: Seconds that one run may take.
_DEADLINE = 900.0


@dataclass(frozen=True)
class Task:
    """What is run: a strategy by its address, and its data by stream name."""

    address: str
    data: Mapping[str, str]
    start: str | int | None = None
    end: str | int | None = None


@dataclass(frozen=True)
class World:
    """What is different.

    Attributes
    ----------
    future : {"as it is", "altered", "cut off"}
        What happened to the bars from ``cut`` (seconds UTC) on.
    clock_ahead : float
        Seconds that every clock is ahead.
    hidden : frozenset of str
        Files that do not exist.
    start : int, optional
        Another start of the run, seconds UTC.
    runs : int
        How often the strategy runs in the one process.
    engine : {"batch", "stream"}
        Driver.
    libraries : frozenset of str
        What the strategy reads files with, to be watched from the start.
    """

    future: Literal["as it is", "altered", "cut off"] = "as it is"
    cut: int = 0
    clock_ahead: float = 0.0
    hidden: frozenset[str] = frozenset()
    start: int | None = None
    runs: int = 1
    engine: Literal["batch", "stream"] = "batch"
    libraries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Records:
    """Outputs of one node: buckets int64[n], a float64[n, S] each field, whole payloads as text."""

    ts: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    payloads: tuple[str, ...] = ()
    interval: int = 0


@dataclass(frozen=True)
class Visit:
    """What was seen in a world: for each run, node name to records, in topological order; files and libraries used."""

    runs: list[dict[str, Records]]
    files: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    error: str | None = None
    error_code: str = ""


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, the node, the first bucket (seconds UTC) and the evidence."""

    kind: str
    node: str
    ts: int | None
    evidence: str


@dataclass(frozen=True)
class Findings:
    """Outcome of a check: what was found, and what was looked at."""

    checked: str
    found: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found


def visit(task: Task, world: World) -> Visit:
    """Run a strategy in a world.

    Raises
    ------
    RunError
        The run takes too long, or its process dies.
    """
    _warm_up()
    context = multiprocessing.get_context("fork")  # a fresh process that need not import everything again
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_inside, args=(theirs, task, world), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_DEADLINE):
            raise RunError(f"{task.address}: a run took longer than {_DEADLINE:.0f} s", hint="give a shorter span")
        seen: Visit = ours.recv()
    except EOFError:
        raise RunError(f"{task.address}: the process of a run died", hint="run qmtl backtest to see why") from None
    finally:
        if process.is_alive():
            process.join(1.0)
        process.kill()
        process.join()
        ours.close()
    return seen


def visit_as_it_is(task: Task, world: World) -> Visit:
    """Run a strategy as it is, or say that it does not run.

    Raises
    ------
    RunError
        The strategy fails.
    """
    seen = visit(task, world)
    if seen.error is not None:
        raise RunError(f"{task.address} does not run: {seen.error}", hint="run qmtl backtest first")
    return seen


def _warm_up() -> None:
    """Import before the fork what every world needs."""
    import pandas as pd  # noqa: F401
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    import qmtl.engine.batch
    import qmtl.sdk.backtest
    import qmtl.trading.exchange  # noqa: F401


def _inside(pipe: Connection, task: Task, world: World) -> None:
    """Run in the child; whatever happens is told to the parent."""
    from qmtl.testing.clocks import clock_ahead
    from qmtl.testing.files import Files, readers_loaded

    runs: list[dict[str, Records]] = []
    files = Files(world)
    error, code = None, ""
    with ExitStack() as stack:
        stack.enter_context(_ids_at_any_rate())
        stack.enter_context(files)
        if world.clock_ahead:
            stack.enter_context(clock_ahead(world.clock_ahead))
        try:
            runs += _run(task, world)
        except QmtlError as failure:
            error, code = str(failure), failure.code
        except Exception:  # noqa: BLE001  (the parent decides what a failure means)
            error = traceback.format_exc(limit=3)
    pipe.send(Visit(runs, frozenset(files.read), readers_loaded(), error, code))
    pipe.close()


@contextmanager
def _ids_at_any_rate() -> Iterator[None]:
    """Give code that cannot be followed an id of its own: a changed clock or file reader is such code."""
    from qmtl.graph import fingerprint as module

    known, count = module.fingerprint, itertools.count()

    def fingerprint(fn: object, **options: Any) -> module.Fingerprint:
        try:
            return known(fn, **options)
        except UnhashableCodeError:
            return module.Fingerprint(f"{next(count):064x}", {})

    with mock.patch.object(module, "fingerprint", fingerprint):
        yield


def _run(task: Task, world: World) -> list[dict[str, Records]]:
    from qmtl.sdk.loader import load_strategy
    from qmtl.sdk.runner import Runner

    strategy = load_strategy(task.address)
    options: dict[str, Any] = {"data": dict(task.data), "end_time": task.end, "engine": world.engine}
    start = task.start if world.start is None else world.start
    return [_records(Runner.offline(strategy, start_time=start, **options)) for _ in range(world.runs)]


def _records(result: Any) -> dict[str, Records]:
    order = {node["node_id"]: (k, node["interval"]) for k, node in enumerate(result.graph["nodes"])}
    names = sorted(result.outputs, key=lambda name: order[result.node_ids[name]][0])
    made = {}
    for name in names:
        output = result.outputs.raw(name)
        payloads = tuple(repr(payload) for payload in output.objects)
        made[name] = Records(output.ts, dict(output.columns), payloads, order[result.node_ids[name]][1])
    return made


def _first_difference(
    a: Mapping[str, Records], b: Mapping[str, Records], known_in: Span
) -> tuple[str, int, str, str] | None:
    """Return node, bucket and both values of the first difference among outputs known within a span.

    An output is known when its bucket ends. The node is the first in the order of computation.
    """
    for name, mine in a.items():
        if name not in b:
            return name, known_in.start, "outputs", "none"
        found = _difference(mine, b[name], known_in)
        if found is not None:
            return name, *found
    return None


def differences(
    kind: str, a: Mapping[str, Records], b: Mapping[str, Records], known_in: Span, evidence: str
) -> list[Finding]:
    """Return the first difference between two runs as a finding, or none; ``evidence`` says what was different."""
    found = _first_difference(a, b, known_in)
    if found is None:
        return []
    node, ts, old, new = found
    return [Finding(kind, node, ts, f"{old} became {new} {evidence}")]


def _difference(a: Records, b: Records, span: Span) -> tuple[int, str, str] | None:
    mine, other = _within(a, span), _within(b, span)
    common = np.intersect1d(mine.ts, other.ts)
    lone = np.setxor1d(mine.ts, other.ts)
    found: list[tuple[int, str, str]] = []
    if len(lone):
        first = int(lone[0])
        found.append((first, *(("an output", "none") if first in set(mine.ts.tolist()) else ("none", "an output"))))
    left, right = np.isin(mine.ts, common), np.isin(other.ts, common)
    for name, column in mine.columns.items():
        one = column[left]
        two = other.columns[name][right] if name in other.columns else np.full_like(one, np.nan)
        bits = (np.ascontiguousarray(one).view(np.int64) != np.ascontiguousarray(two).view(np.int64)).any(axis=1)
        if bits.any():
            row = int(np.argmax(bits))
            at = int(np.argmax(one[row] != two[row]))
            found.append((int(common[row]), f"{name} {one[row, at]!s}", f"{two[row, at]!s}"))
    for one_text, two_text, ts in zip(mine.payloads, other.payloads, common.tolist(), strict=False):
        if one_text != two_text:
            found.append((ts, one_text[:60], two_text[:60]))
            break
    return min(found) if found else None


def _within(records: Records, span: Span) -> Records:
    known = (records.ts + records.interval <= span.end) & (records.ts >= span.start)
    payloads = tuple(p for p, k in zip(records.payloads, known, strict=True) if k) if records.payloads else ()
    return Records(records.ts[known], {n: c[known] for n, c in records.columns.items()}, payloads, records.interval)


def bounds(seen: Visit) -> Span:
    """Return the span of the outputs of a run."""
    parts = _with_outputs(seen)
    return Span(min(int(r.ts[0]) for r in parts), max(int(r.ts[-1]) + r.interval for r in parts))


def warm_bounds(seen: Visit) -> Span:
    """Return the span in which every node of a run has outputs, or had its first one."""
    return Span(max(int(r.ts[0]) for r in _with_outputs(seen)), bounds(seen).end)


def _with_outputs(seen: Visit) -> list[Records]:
    parts = [records for records in seen.runs[0].values() if len(records.ts)]
    if not parts:
        raise RunError("the strategy has no output in the span", hint="give a longer span of data")
    return parts
