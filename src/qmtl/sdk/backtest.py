"""One back-test: bind data, plan the union of the graphs, compute, trade, measure."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.graph.dag import Dag
from qmtl.graph.document import document
from qmtl.graph.node import Node, StreamInput
from qmtl.interval import Span
from qmtl.sdk.binding import Bound, bind
from qmtl.sdk.outputs import Outputs, clip
from qmtl.sdk.strategy import Built
from qmtl.sdk.trade import TARGET_KINDS, is_trade, traded_stream

if TYPE_CHECKING:
    from qmtl.engine.batch import Output
    from qmtl.engine.plan import Plan
    from qmtl.report.result import Result
    from qmtl.trading.costs import Costs
    from qmtl.trading.exchange import Simulation


@dataclass(frozen=True)
class Request:
    """What was asked of a run; see :meth:`qmtl.sdk.Runner.backtest`."""

    span: Span
    engine: str
    calendar: Calendar
    on_missing: str = "skip"
    data: Mapping[str, Any] | None = None
    costs: Costs | None = None
    cash: float | None = None
    on_progress: Callable[[int, int], None] | None = None


async def run(strategies: Sequence[Built], request: Request) -> list[Result]:
    """Run strategies over one union graph, so that a node they share is computed once."""
    union = (
        Dag.of([node for built in strategies for node in built.dag.nodes]) if len(strategies) > 1 else strategies[0].dag
    )
    data = _for_union(union, strategies, request.data)
    bound = await bind(union, data, request.span, on_missing=request.on_missing, calendar=request.calendar)
    plan, outputs = compute(union, strategies, bound, request)
    return [_result(built, plan, outputs, bound, request) for built in strategies]


def _for_union(union: Dag, strategies: Sequence[Built], data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Let every strategy's own names for a stream bind it in the union."""
    if data is None or len(strategies) == 1:
        return data
    own = {name: built.dag.names[name] for built in strategies for name in built.dag.names}
    first = {identifier: name for name, identifier in reversed(list(union.names.items()))}
    return {first.get(own.get(name, ""), name): source for name, source in data.items()}


def compute(
    union: Dag, strategies: Sequence[Built], bound: Mapping[str, Bound], request: Request
) -> tuple[Plan, dict[str, Output]]:
    """Plan and run the engine; return outputs by id, warm-up included."""
    from qmtl.engine.batch import run_batch
    from qmtl.engine.plan import Plan
    from qmtl.engine.stream import run_stream

    fields = {k: b.frame.fields for k, b in bound.items()}
    keep = {i for built in strategies for i in built.dag.names.values()} | {
        built.dag.node(t).node_id for built in strategies for t in built.execution.targets
    }
    plan = Plan.of(union, fields, keep - set(bound))
    frames = {k: b.frame for k, b in bound.items()}
    if request.engine == "stream":
        return plan, run_stream(plan, frames)
    total = sum(len(f.ts) for f in frames.values())
    progress = request.on_progress
    return plan, run_batch(plan, frames, on_chunk=progress and (lambda done: progress(done, total)))


def _result(
    built: Built, plan: Plan, outputs: Mapping[str, Output], bound: Mapping[str, Bound], request: Request
) -> Result:
    from qmtl.report.result import Result

    labels = built.dag.labels()
    streams = {s.node_id: bound[s.node_id] for s in built.dag.streams}
    span = _clipped(request.span, streams)
    shown = {}
    for name, identifier in {**{labels[i]: i for i in labels if i in outputs}, **built.dag.names}.items():
        shown[name] = clip(outputs[identifier] if identifier in outputs else _stream_output(bound[identifier]), span)
    symbols = {labels[i]: b.stream.symbols for i, b in streams.items() if b.stream.symbols}
    universe = next(iter(symbols.values()), None)
    frames = Outputs(shown, dict.fromkeys(shown, universe) if universe else {})
    result = Result(
        strategy=built.name,
        outputs=frames,
        node_ids={name: built.dag.names.get(name, i) for name, i in _names(labels, built).items()},
        warmup={name: plan.warmup(i) for name, i in _names(labels, built).items()},
        gaps=[
            {"stream": g.stream, "start": g.start, "end": g.end, "bars": g.bars}
            for b in streams.values()
            for g in b.gaps
        ],
        provenance=_provenance(built, streams, span, request),
        graph=document(built.dag),
    )
    trade = next((node for t in built.execution.targets if is_trade(node := built.dag.node(t))), None)
    return result if trade is None else _traded(result, built, trade, outputs, bound, span, request)


def _names(labels: Mapping[str, str], built: Built) -> dict[str, str]:
    return {**{label: identifier for identifier, label in labels.items()}, **built.dag.names}


def _clipped(span: Span, streams: Mapping[str, Bound]) -> Span:
    """Replace an open start or end by those of the data."""
    first = min(int(b.frame.ts[0]) for b in streams.values())
    last = max(int(b.frame.ts[-1]) + b.frame.interval for b in streams.values())
    return Span(max(span.start, first), max(min(span.end, last), span.start, first))


def _stream_output(bound: Bound) -> Output:
    from qmtl.engine.batch import Output

    return Output(bound.frame.ts, bound.frame.columns)


def _traded(
    result: Result,
    built: Built,
    trade: Node,
    outputs: Mapping[str, Output],
    bound: Mapping[str, Bound],
    span: Span,
    request: Request,
) -> Result:
    """Simulate the orders of a trade node and measure the outcome."""
    from qmtl.report.accounts import with_trading
    from qmtl.trading.costs import Costs

    stream = bound[traded_stream(trade).node_id]
    bars = stream.frame.slice(span)
    target = _on_bars(clip(outputs[trade.node_id], span), trade.interval, bars.ts, stream.stream)
    execution = built.execution
    simulation = _simulate(
        bars,
        target,
        TARGET_KINDS[trade.node_type],
        request.costs or execution.costs or Costs(),
        request.cash or execution.cash,
    )
    return with_trading(result, bars, simulation, request.calendar)


def _on_bars(output: Output, interval: int, ts: np.ndarray[Any, Any], stream: StreamInput) -> np.ndarray[Any, Any]:
    """Place each target on the last price bar that is complete when the target is known."""
    width = len(stream.symbols or (0,))
    target = np.full((len(ts), width), np.nan)
    if len(output.ts):
        at = np.searchsorted(ts + stream.interval, output.ts + interval, side="right") - 1
        known = at >= 0
        target[at[known]] = output.columns["value"][known]
    return target


def _simulate(bars: Any, target: Any, kind: Any, costs: Costs, cash: float) -> Simulation:
    from qmtl.trading.exchange import simulate

    opens = bars.columns.get("open", bars.columns["close"])
    return simulate(bars.ts, opens, bars.columns["close"], target, kind=kind, costs=costs, initial_cash=cash)


def _provenance(built: Built, streams: Mapping[str, Bound], span: Span, request: Request) -> dict[str, Any]:
    from qmtl import __version__

    return {
        "qmtl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "engine": request.engine,
        "strategy": built.name,
        "start": span.start,
        "end": span.end,
        "on_missing": request.on_missing,
        "calendar": request.calendar.name,
        "data": {
            b.stream.label: {"fingerprint": b.frame.fingerprint(), "bars": len(b.frame.ts)} for b in streams.values()
        },
    }
