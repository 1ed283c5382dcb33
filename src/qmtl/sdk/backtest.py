"""One back-test: bind data, plan the union of the graphs, compute, trade, measure."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.graph.dag import Dag
from qmtl.graph.document import document
from qmtl.graph.node import Node, StreamInput
from qmtl.interval import Span, covered
from qmtl.sdk.binding import Bound, bind, find_sources
from qmtl.sdk.outputs import Outputs, clip
from qmtl.sdk.strategy import Built
from qmtl.sdk.trade import TARGET_KINDS, is_trade, traded_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmtl.engine.batch import Output
    from qmtl.engine.plan import Plan
    from qmtl.frame import Frame
    from qmtl.report.result import Result
    from qmtl.trading.costs import Costs
    from qmtl.trading.exchange import Simulation


@dataclass(frozen=True)
class Request:
    """What was asked of a run; see :class:`qmtl.sdk.runner.Options`."""

    span: Span
    engine: str
    calendar: Calendar
    on_missing: str = "skip"
    data: Mapping[str, Any] | None = None
    costs: Costs | None = None
    cash: float | None = None
    on_progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Computed:
    """What one computation of the union graph gave: outputs by id, and the data it rests on with its fingerprints.

    ``simulation`` is what an account did that was traded meanwhile; without it, targets are traded afterwards.
    """

    plan: Plan
    outputs: Mapping[str, Output]
    bound: Mapping[str, Bound]
    prints: Mapping[str, str]
    request: Request
    simulation: Simulation | None = None


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs, read and checked."""

    strategies: Sequence[Built]
    request: Request
    union: Dag
    bound: Mapping[str, Bound]


async def prepare(strategies: Sequence[Built], request: Request) -> Prepared:
    """Read the data of strategies over one union graph, so that a node they share is computed once."""
    union = union_of(strategies)
    sources = find_sources(union, stream_names(strategies), request.data)
    bound = await bind(union, sources, request.span, on_missing=request.on_missing, calendar=request.calendar)
    return Prepared(strategies, request, union, bound)


def compute(prepared: Prepared) -> list[Result]:
    """Run what was prepared; no event loop is in between, so that Ctrl-C stops it at once."""
    request, bound = prepared.request, prepared.bound
    with ThreadPoolExecutor() as pool:
        # Hashing releases the interpreter: it goes on beside the engine.
        prints = {k: pool.submit(b.frame.fingerprint) for k, b in bound.items()}
        plan, outputs = _compute(prepared.union, prepared.strategies, bound, request)
        made = Computed(plan, outputs, bound, {k: found.result() for k, found in prints.items()}, request)
    return [result_of(built, made) for built in prepared.strategies]


def union_of(strategies: Sequence[Built]) -> Dag:
    """Return one graph of all strategies: a node that several have is there once."""
    if len(strategies) == 1:
        return strategies[0].dag
    return Dag.union([built.dag for built in strategies])


def stream_names(strategies: Sequence[Built]) -> dict[str, set[str]]:
    """Return what each strategy calls its streams: name to ids, for two may mean two streams by one name."""
    names: dict[str, set[str]] = {}
    for built in strategies:
        streams = {stream.node_id for stream in built.dag.streams}
        for name, identifier in built.dag.names.items():
            if identifier in streams:
                names.setdefault(name, set()).add(identifier)
    return names


def _compute(
    union: Dag, strategies: Sequence[Built], bound: Mapping[str, Bound], request: Request
) -> tuple[Plan, dict[str, Output]]:
    """Plan and run the engine; return outputs by id, warm-up included."""
    from qmtl.engine.batch import run_batch
    from qmtl.engine.plan import Plan
    from qmtl.engine.stream import run_stream

    wanted = {i for built in strategies for i in kept_of(built)}
    plan = Plan.of(union, {k: b.frame.fields for k, b in bound.items()}, wanted - set(bound))
    frames = {k: b.frame for k, b in bound.items()}
    total, progress = sum(len(f.ts) for f in frames.values()), request.on_progress
    report = None if progress is None else (lambda done: progress(done, total))
    run = run_stream if request.engine == "stream" else run_batch
    return plan, run(plan, frames, on_chunk=report)


def kept_of(built: Built) -> set[str]:
    """Return the ids of a strategy whose outputs its result has, beside those of its streams: by name, or a target."""
    return {*built.dag.names.values(), *(built.dag.node(target).node_id for target in built.execution.targets)}


def trade_of(built: Built) -> Node | None:
    """Return the node that decides what a strategy holds, if it trades."""
    return next((node for t in built.execution.targets if is_trade(node := built.dag.node(t))), None)


def result_of(built: Built, made: Computed) -> Result:
    """Return the result of one of the strategies that were computed together."""
    from qmtl.report.result import Result

    streams = {s.node_id: made.bound[s.node_id] for s in built.dag.streams}
    span = _clipped(made.request.span, streams)
    names = {label: i for i, label in built.dag.labels().items()} | dict(built.dag.names)
    shown = {name: _output(i, made, span) for name, i in names.items() if i in made.outputs or i in made.bound}
    planned = {name: i for name, i in names.items() if i in made.plan.nodes}
    symbols = {name: made.plan.nodes[i].symbols for name, i in planned.items()}
    result = Result(
        strategy=built.name,
        outputs=Outputs(shown, symbols),
        node_ids=names,
        warmup={name: made.plan.warmup(i) for name, i in planned.items()},
        gaps=[vars(gap) for bound in streams.values() for gap in bound.gaps],
        provenance=_provenance(built, streams, span, made),
        graph=document(built.dag),
    )
    trade = trade_of(built)
    return result if trade is None else _traded(result, built, trade, made, span)


def _output(identifier: str, made: Computed, span: Span) -> Output:
    from qmtl.engine.batch import Output

    if identifier in made.outputs:
        return clip(made.outputs[identifier], span)
    frame = made.bound[identifier].frame
    return clip(Output(frame.ts, frame.columns), span)


def _clipped(span: Span, streams: Mapping[str, Bound]) -> Span:
    """Replace an open start or end by those of the data."""
    there = [covered(b.frame.ts, b.frame.interval) for b in streams.values() if len(b.frame)]
    first, last = min(one.start for one in there), max(one.end for one in there)
    start = max(span.start, first)
    return Span(start, max(min(span.end, last), start))


def _traded(result: Result, built: Built, trade: Node, made: Computed, span: Span) -> Result:
    """Simulate the orders of a trade node and measure the outcome."""
    from qmtl.report.accounts import Traded

    stream = made.bound[traded_stream(trade).node_id]
    bars = stream.frame.slice(span)
    simulation = made.simulation or _simulated(built, trade, made, bars, span)
    bars = bars.rows(0, len(simulation.ts))  # an account that was traded meanwhile may be behind its bars
    return replace(result, accounts=Traded(bars, simulation, made.request.calendar, stream.stream.label))


def _simulated(built: Built, trade: Node, made: Computed, bars: Frame, span: Span) -> Simulation:
    from qmtl.trading.costs import Costs
    from qmtl.trading.exchange import simulate

    close, stream = bars.columns["close"], traded_stream(trade)
    return simulate(
        bars.ts,
        bars.columns.get("open", close),
        close,
        _on_bars(_output(trade.node_id, made, span), trade.interval, bars.ts, stream),
        kind=TARGET_KINDS[trade.node_type],
        costs=made.request.costs or built.execution.costs or Costs(),
        initial_cash=built.execution.cash if made.request.cash is None else made.request.cash,
    )


def _on_bars(output: Output, interval: int, ts: NDArray[np.int64], stream: StreamInput) -> NDArray[np.float64]:
    """Place each target on the last price bar that is complete when the target is known."""
    target = np.full((len(ts), len(stream.symbols or (0,))), np.nan)
    first = len(ts) - len(output.ts)
    if interval == stream.interval and first >= 0 and np.array_equal(ts[first:], output.ts):
        target[first:] = output.columns["value"]  # the usual case: one for each bar once it is warm
    elif len(output.ts):
        at = np.searchsorted(ts + stream.interval, output.ts + interval, side="right") - 1
        known = at >= 0
        target[at[known]] = output.columns["value"][known]
    return target


def _provenance(built: Built, streams: Mapping[str, Bound], span: Span, made: Computed) -> dict[str, Any]:
    from importlib.metadata import version

    request = made.request
    return {
        "qmtl": version("qmtl"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "strategy": built.name,
        "engine": request.engine,
        "start": span.start,
        "end": span.end,
        "on_missing": request.on_missing,
        "calendar": request.calendar.name,
        "data": {b.stream.label: {"fingerprint": made.prints[i], "bars": len(b.frame)} for i, b in streams.items()},
    }
