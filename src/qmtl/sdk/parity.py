"""The parity certificate: what a run recorded is computed and traded again, and compared to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.errors import IdentityError, UsageError
from qmtl.live.paper import Order, Paper, Terms, Traded
from qmtl.live.run_record import RunRecord
from qmtl.report.accounts import NoAccounts
from qmtl.report.compare import compare
from qmtl.report.metrics import Metrics
from qmtl.report.result import Result
from qmtl.sdk.backtest import kept_of
from qmtl.sdk.deviation import Deviation, of_account, of_arrivals, of_files, of_fills, of_orders, of_rows
from qmtl.sdk.eras import Eras
from qmtl.sdk.live_result import rebuilt, terms_of
from qmtl.sdk.loader import load_strategy
from qmtl.sdk.replay import batch, first_emitted, in_order_of_arrival, misplaced, moving
from qmtl.sdk.tag_queries import queries

if TYPE_CHECKING:
    from qmtl.engine.plan import Plan
    from qmtl.graph.dag import Dag
    from qmtl.live.rows import Rows
    from qmtl.sdk.strategy import Built

#: Where a run keeps its record inside of its folder.
RECORD = Path("run") / "state.db"


@dataclass(frozen=True)
class Parity:
    """Outcome of :func:`certify`.

    Attributes
    ----------
    equal : bool
        Whether everything that the run recorded is what its bars give.
    certificate : dict or None
        ``through``, up to which all nodes had been delivered and were compared, seconds UTC; how many ``nodes``,
        ``bars``, ``orders``, ``fills``, ``account`` rows and ``arrivals``; and the ``digest`` of all of them.
    first_difference : dict or None
        ``node``, ``bucket``, ``field``, the values ``recorded`` and ``replayed``, and ``what`` was compared.
    """

    equal: bool
    certificate: dict[str, Any] | None
    first_difference: dict[str, Any] | None


@dataclass(frozen=True)
class _Run:
    """A recorded run, and the strategy that made it."""

    result: Result
    record: RunRecord
    built: Built
    plan: Plan
    eras: Eras | None = None

    @property
    def streams(self) -> list[str]:
        """Streams, and queues of other strategies."""
        return [stream.node_id for stream in self.plan.dag.streams]

    @property
    def is_repaired(self) -> bool:
        return any(True for k in self.streams for _ in self.record.parts(k, revised=True))

    @property
    def terms(self) -> Terms | None:
        account = self.result.provenance.get("account")
        return None if account is None else terms_of(account)

    @property
    def through(self) -> int:
        return max((arrival.through for arrival in self.record.arrivals()), default=0)

    def label(self, node: str) -> str:
        return self.built.dag.labels().get(node) or self.plan.nodes[node].node.label


def certify(directory: Path, address: str | None = None) -> Parity:
    """Replay what a run recorded, and compare every output, order, fill and account row to the bit.

    Parameters
    ----------
    directory : Path
        What a dry-run wrote.
    address : str, optional
        The strategy, as ``file.py:Class``; that of the run by default.

    Raises
    ------
    SourceNotFoundError
        There is no result, no record of a run, or no such strategy.
    IdentityError
        The strategy is not the one that ran: nothing can be said about its record.
    """
    result = Result.load(directory)
    record = RunRecord(directory / RECORD)
    try:
        run = _opened(result, record, address)
        found = min(_deviations(run), key=lambda one: one.rank, default=None)
        if found is not None:
            return Parity(equal=False, certificate=None, first_difference=found.told())
        return Parity(equal=True, certificate=_certificate(run), first_difference=None)
    finally:
        record.close()


def _opened(result: Result, record: RunRecord, address: str | None) -> _Run:
    place = address or result.provenance.get("strategy_address")
    if place is None:
        raise UsageError("the run does not say where its strategy is", hint="say it: --strategy FILE:CLASS")
    built = load_strategy(place).build()
    names = {label: i for i, label in built.dag.labels().items()} | dict(built.dag.names)
    for name in sorted(names.keys() | result.node_ids.keys()):
        ran, now = result.node_ids.get(name, "absent"), names.get(name, "absent")
        if ran != now:
            raise IdentityError(
                f"{place} is not the strategy that ran: node {name!r} was {ran[:12]} and is {now[:12]}",
                hint="give the version that ran: --strategy FILE:CLASS, or look at it with qmtl diff",
            )
    eras = Eras(built, record) if queries([built]) else None
    run = _Run(result, record, built, _plan_of(built, record, built.dag if eras is None else eras.whole), eras)
    if eras is not None:
        eras.check(kept_of(built))
        if run.is_repaired:
            raise UsageError(
                f"bars were repaired while {built.name} read queues of other strategies by tag",
                hint="such a run cannot be certified: repairs are computed from the upstreams of their time",
            )
    return run


def _plan_of(built: Built, record: RunRecord, dag: Dag) -> Plan:
    """Return the plan of a graph, with the fields that were recorded, that keeps what the strategy's result has."""
    from qmtl.engine.plan import Plan

    drafted, streams = Plan.of(dag).nodes, [stream.node_id for stream in dag.streams]
    fields = {k: record.outputs(k).fields or drafted[k].fields or () for k in streams}
    return Plan.of(dag, fields, (kept_of(built) & drafted.keys()) - {*streams})


# ------------------------------------------------------------------------------ comparing


def _deviations(run: _Run) -> Iterator[Deviation]:
    """Yield the first deviation of everything, from what arrived to what was written; a cause hides its effects."""
    for stages in (_of_arrivals, _of_nodes, _of_account, _of_files):
        found = list(stages(run))
        yield from found
        if found:
            return


def _of_arrivals(run: _Run) -> Iterator[Deviation]:
    """Compare the bars of streams with the order in which they arrived, and with the tables of the folder."""
    for stream in run.streams:
        wrong = misplaced(run.record, stream)
        if wrong is not None:
            yield of_arrivals(run.label(stream), *wrong)
    names = {name for name, i in run.result.node_ids.items() if i in run.streams}
    yield from _between(
        *(replace(one, outputs=_only(one, names), accounts=NoAccounts(Metrics({}, {}, {}))) for one in _both(run))
    )


def _of_nodes(run: _Run) -> Iterator[Deviation]:
    """Compare outputs: as emitted first, in the order of arrival, and with all repairs."""
    nodes = sorted(run.plan.keep, key=list(run.plan.nodes).index)
    if run.eras is not None:
        stages = _varied(run, run.eras, nodes)
    else:
        stages = (_repaired if run.is_repaired else _plain)(run, nodes)
    for what, recorded, replayed in stages:
        for order, node in enumerate(node for node in nodes if node in replayed):
            begin = run.result.provenance["start"]
            found = of_rows(recorded[node], replayed[node], run.plan.nodes[node], run.through, begin)
            if found is not None:
                yield replace(found, node=run.label(node), what=what, order=order)


#: What is compared, as it was recorded and as it should be.
_Compared = tuple[str, dict[str, "Rows"], dict[str, "Rows"]]


def _plain(run: _Run, nodes: Collection[str]) -> Iterator[_Compared]:
    recorded = {node: run.record.outputs(node) for node in nodes}
    yield "output", recorded, first_emitted(run.plan, run.record)
    yield "output in the order of arrival", recorded, in_order_of_arrival(run.plan, run.record)


def _varied(run: _Run, eras: Eras, nodes: Collection[str]) -> Iterator[_Compared]:
    """Nodes below tag queries are computed from the upstreams of each time, the others as ever."""
    plan_of = partial(_plan_of, run.built, run.record)
    steady = plan_of(eras.steady)
    yield from _plain(replace(run, plan=replace(steady, keep=steady.keep - eras.varying)), nodes)
    varying = [node for node in nodes if node in eras.varying]
    recorded = {node: run.record.outputs(node) for node in varying}
    yield "output", recorded, eras.outputs(varying, plan_of, run.through)


def _repaired(run: _Run, nodes: Collection[str]) -> Iterator[_Compared]:
    """In buckets that a repair moves, what came first depends on what runners had read: there only the end counts."""
    record = run.record
    first, again = first_emitted(run.plan, record), _computed(run, record.latest)
    as_sealed = _computed(run, record.outputs)
    moved = {k: np.union1d(moving(first[k], again[k]), moving(as_sealed[k], again[k])) for k in nodes}
    emitted = {k: record.outputs(k).without(moved[k]) for k in nodes}
    yield "output", emitted, {k: first[k].without(moved[k]) for k in nodes}
    yield "repaired output", {k: record.latest(k) for k in nodes}, again


def _computed(run: _Run, bars: Callable[[str], Rows]) -> dict[str, Rows]:
    return batch(run.plan, {k: bars(k) for k in run.streams}, run.through)


def _of_account(run: _Run) -> Iterator[Deviation]:
    terms = run.terms
    if terms is None:
        return
    recorded, replayed = run.record.traded(terms.strategy_id, len(terms.symbols)), _traded_again(run, terms)
    name = run.label(terms.node_id)
    for found in (
        of_account(recorded, replayed, terms),
        of_fills(recorded.fills, replayed.fills, terms),
        of_orders(recorded.orders, replayed.orders, terms),
    ):
        if found is not None:
            yield replace(found, node=name)


def _traded_again(run: _Run, terms: Terms) -> Traded:
    """Trade the recorded bars and targets, which are those of the replay by now, whenever the run did."""
    paper, pieces = Paper(terms), []
    journal: dict[str, Order] = {}
    delivered: Mapping[str, Rows] = {k: run.record.outputs(k) for k in (terms.stream_id, terms.node_id)}
    for through in run.record.takes(terms.strategy_id):
        pieces.append(paper.take(delivered, through))
        delivered = {}
        journal |= {order.client_order_id: order for order in pieces[-1].orders}
    if not pieces:
        return paper.take({}, 0)
    columns = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in _COLUMNS}
    return Traded(pieces[-1].through, **columns, orders=tuple(journal.values()))


_COLUMNS = ("ts", "equity", "cash", "position", "fills")


def _of_files(run: _Run) -> Iterator[Deviation]:
    """Compare the tables of the folder with what was recorded."""
    yield from _between(*_both(run))


def _both(run: _Run) -> tuple[Result, Result]:
    return run.result, rebuilt(run.built, run.plan, run.record, run.result.provenance)


def _only(result: Result, names: Collection[str]) -> dict[str, Any]:
    return {name: result.outputs[name] for name in result.outputs if name in names}


def _between(stored: Result, made: Result) -> Iterator[Deviation]:
    found = compare(stored, made).first_difference
    if found is not None:
        yield of_files(found)


# ---------------------------------------------------------------------------- certifying


def _certificate(run: _Run) -> dict[str, Any]:
    digest, counts = hashlib.sha256(), {"nodes": 0, "bars": 0, "orders": 0, "fills": 0, "account": 0, "arrivals": 0}
    for node in sorted({*run.plan.keep, *run.streams}):
        rows = run.record.latest(node)
        counts["nodes"], counts["bars"] = counts["nodes"] + 1, counts["bars"] + len(rows)
        digest.update(repr((node, rows.fields)).encode() + rows.ts.tobytes() + rows.values.tobytes())
    for arrival in run.record.arrivals():
        counts["arrivals"] += 1
        digest.update(repr(arrival).encode())
    if (terms := run.terms) is not None:
        made = run.record.traded(terms.strategy_id, len(terms.symbols))
        counts |= {"orders": len(made.orders), "fills": len(made.fills), "account": len(made.ts)}
        for column in _COLUMNS:
            digest.update(np.ascontiguousarray(getattr(made, column)).tobytes())
        digest.update(repr(sorted(made.orders, key=lambda order: order.client_order_id)).encode())
    return {"through": run.through, **counts, "digest": digest.hexdigest()}
