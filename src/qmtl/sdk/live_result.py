"""The result of a live run from what it stored: the one that a back-test over the same bars gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.errors import RunError
from qmtl.frame import Frame
from qmtl.interval import Span
from qmtl.live.paper import Order, Terms, Traded
from qmtl.live.rows import Rows
from qmtl.live.run_record import RunRecord
from qmtl.sdk.backtest import Computed, kept_of, result_of
from qmtl.sdk.backtest import Request as Wanted
from qmtl.sdk.binding import Bound, find_gaps
from qmtl.trading.costs import Costs
from qmtl.trading.exchange import Simulation, orders_of

if TYPE_CHECKING:
    import pandas as pd

    from qmtl.engine.batch import Output
    from qmtl.engine.plan import Plan, PlanNode
    from qmtl.graph.node import StreamInput
    from qmtl.report.result import Result
    from qmtl.sdk.dryrun import Prepared
    from qmtl.sdk.strategy import Built
    from qmtl.wire.client import Mapped


def assemble(
    built: Built, run: Prepared, placed: Mapped, record: RunRecord, nodes: Mapping[str, Any], session: Mapping[str, Any]
) -> Result:
    """Return what a run has made so far of one of its strategies.

    Parameters
    ----------
    built : Built
        The strategy.
    run : Prepared
        What it ran in.
    placed : Mapped
        What became of its submission.
    record : RunRecord
        What was stored.
    nodes : mapping of node to counts
        For the provenance: bars computed here, and read from queues.
    session : mapping
        For the provenance: which session, at which Gateway.

    Raises
    ------
    RunError
        Nothing was delivered yet.
    """
    paper = run.papers().get(placed.strategy_id)
    bound = {stream.node_id: _bound(stream, run, record) for stream in built.dag.streams}
    if not any(len(one.frame) for one in bound.values()):
        raise RunError("nothing was delivered yet, so there is no result", hint="start it again: it goes on")
    asked, terms = run.request, None if paper is None else paper.terms
    wanted = Wanted(asked.span, "live", asked.calendar, asked.on_missing)
    result = _result(built, _computed(built, run.plan, record, bound, wanted), record, terms)
    facts = {"mode": asked.mode, "strategy_id": placed.strategy_id, "nodes": dict(nodes), "session": dict(session)}
    facts |= _address(built, run) | ({} if terms is None else {"account": account_of(terms)})
    return replace(result, provenance=result.provenance | facts)


def rebuilt(built: Built, plan: Plan, record: RunRecord, provenance: Mapping[str, Any]) -> Result:
    """Return the result of a run once more, from its record and the provenance of what was saved."""
    bound = {
        s.node_id: Bound(s, as_frame(record.outputs(s.node_id), plan.nodes[s.node_id]), ()) for s in built.dag.streams
    }
    span = Span(provenance["start"], provenance["end"])
    wanted = Wanted(span, provenance["engine"], Calendar(provenance["calendar"]), provenance["on_missing"])
    terms = terms_of(provenance["account"]) if "account" in provenance else None
    return _result(built, _computed(built, plan, record, bound, wanted), record, terms)


def _computed(built: Built, plan: Plan, record: RunRecord, bound: Mapping[str, Bound], wanted: Wanted) -> Computed:
    nodes = kept_of(built) - bound.keys()
    return Computed(
        plan=plan,
        outputs={k: as_output(record.outputs(k), plan.nodes[k]) for k in nodes if k in plan.nodes},
        bound=bound,
        prints={k: one.frame.fingerprint() for k, one in bound.items()},
        request=wanted,
    )


def _result(built: Built, made: Computed, record: RunRecord, terms: Terms | None) -> Result:
    if terms is None:
        return result_of(built, made)
    traded = record.traded(terms.strategy_id, len(terms.symbols))
    result = result_of(built, replace(made, simulation=simulation_of(traded, terms)))
    return replace(result, journal=journal(traded.orders, terms))


def account_of(terms: Terms) -> dict[str, Any]:
    """Return the terms of an account as JSON data; :func:`terms_of` reads it."""
    return asdict(terms) | {"symbols": list(terms.symbols), "span": [terms.span.start, terms.span.end]}


def terms_of(account: Mapping[str, Any]) -> Terms:
    """Return the terms that :func:`account_of` told."""
    given = {"symbols": tuple(account["symbols"]), "costs": Costs(**account["costs"]), "span": Span(*account["span"])}
    return Terms(**{**account, **given})


def _address(built: Built, run: Prepared) -> dict[str, str]:
    """Return where the strategy came from, if it is known: ``qmtl parity`` loads it from there."""
    known = dict(zip(map(id, run.strategies), run.request.addresses, strict=False))
    return {"strategy_address": known[id(built)]} if id(built) in known else {}


def _bound(stream: StreamInput, run: Prepared, record: RunRecord) -> Bound:
    """Return the bars that were delivered of a stream, fields in the order of its source where that is known."""
    rows, given = record.outputs(stream.node_id), run.feeds.bound.get(stream.node_id)
    frame = as_frame(rows, run.plan.nodes[stream.node_id])
    if given is None:
        return Bound(stream, frame, tuple(find_gaps(stream, frame, run.request.span, run.request.calendar)))
    end = int(frame.ts[-1]) if len(frame) else 0
    gaps = tuple(gap for gap in given.gaps if gap.start < end)
    if len(rows):
        frame = replace(frame, columns={name: frame.columns[name] for name in given.frame.columns})
    return Bound(stream, frame, gaps)


def as_output(rows: Rows, planned: PlanNode) -> Output:
    """Return records as the engine gives them."""
    from qmtl.engine.batch import Output

    frame = as_frame(rows, planned)
    return Output(frame.ts, frame.columns)


def as_frame(rows: Rows, planned: PlanNode) -> Frame:
    """Return records as bars."""
    if not len(rows):
        columns = {name: np.zeros((0, planned.width)) for name in planned.fields or ()}
    else:
        columns = dict(zip(rows.fields, rows.values, strict=True))
    return Frame(rows.ts, columns, planned.node.interval, planned.symbols)


def simulation_of(traded: Traded, terms: Terms) -> Simulation:
    """Return what an account did as the simulated exchange says it."""
    fills = {name: traded.fills[name].copy() for name in traded.fills.dtype.names or () if name != "client_order_id"}
    fills["order"] = np.arange(len(traded.fills))
    still = sorted((o.symbol, o.ts, o.quantity) for o in traded.orders if o.status == "open")
    orders = orders_of(fills, [(ts, symbol, quantity) for symbol, ts, quantity in still])
    return Simulation(traded.ts, traded.equity, traded.cash, traded.position, fills, orders, terms.cash)


def journal(orders: tuple[Order, ...], terms: Terms) -> pd.DataFrame:
    """Return the orders of an account as a table."""
    import pandas as pd

    columns = {name: [getattr(order, name) for order in orders] for name in ("client_order_id", "bucket", "ts")}
    quantities = np.array([order.quantity for order in orders], np.float64)
    return pd.DataFrame({
        **columns,
        "symbol": [terms.symbols[order.symbol] for order in orders],
        "side": np.where(quantities > 0, "buy", "sell"),
        "quantity": np.abs(quantities),
        "status": [order.status for order in orders],
    })  # fmt: skip
