"""Folders of dry-runs, recorded without processes: what a back-test computes is delivered in random pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.engine.batch import run_batch
from qmtl.frame import Frame
from qmtl.interval import FOREVER, Span
from qmtl.live.paper import Traded
from qmtl.live.rows import Rows
from qmtl.live.run_record import Arrival
from qmtl.live.run_store import Commit, RunStore, arrivals
from qmtl.report.result import Result
from qmtl.sdk.backtest import kept_of, stream_names
from qmtl.sdk.dryrun import Prepared, Request
from qmtl.sdk.feeds import open_feeds
from qmtl.sdk.live_result import assemble
from qmtl.sdk.loader import load_strategy
from qmtl.sdk.tag_queries import resolved
from qmtl.wire.client import Mapped

EVER = Span(0, FOREVER)


def prepared(address: str, data: Mapping[str, Any], out: Path, span: Span = EVER) -> Prepared:
    """Open what a dry-run opens, without a Gateway."""
    from qmtl.engine.plan import Plan

    built = load_strategy(address).build()
    request = Request(span, Calendar("24/7"), data=data, out=out, addresses=(address,))
    feeds = asyncio.run(
        open_feeds(built.dag, stream_names([built]), data, span=span, speed=None, calendar=request.calendar)
    )
    streams = {k: tuple(sorted(b.frame.fields)) for k, b in feeds.bound.items()}
    plan = Plan.of(built.dag, streams, kept_of(built) | streams.keys())
    placed = Mapped("s-1", created=True, state="running", queue_map={}, new=0, reused=0, detail=None)
    return Prepared([built], request, resolved([built], ()), feeds, plan, None, [placed], out / "run", None, "session")  # type: ignore[arg-type]


def record(
    address: str,
    data: Mapping[str, Any],
    out: Path,
    seed: int = 0,
    span: Span = EVER,
    repairs: Mapping[int, Rows] | None = None,
) -> Result:
    """Run a strategy on paper in random steps and commits, and write its folder.

    ``repairs`` are bars of its only stream that come too late, by the step before which they are put in their places.
    """
    run = prepared(address, data, out, span)
    random, strategy_id = np.random.default_rng(seed), run.placed[0].strategy_id
    bars = {k: _as_rows(b.frame) for k, b in run.feeds.bound.items()}
    whole, streams = _everything(run, bars), frozenset(bars)
    store, papers = RunStore(run.folder / "state.db"), run.papers()
    ends = sorted({int(t) + run.plan.nodes[k].node.interval for k, rows in whole.items() for t in rows.ts})
    steps = sorted({*random.choice(ends, min(len(ends), 40)).tolist(), ends[-1]})
    pending: list[_Step] = []
    for before, through, repair in zip([0, *steps], steps, map((repairs or {}).get, range(len(steps))), strict=False):
        revised: list[tuple[str, int, Rows]] = []
        if repair is not None:
            again = _everything(run, {k: rows.repaired(repair) for k, rows in whole.items() if k in streams})
            revised = list(_revised(run, whole, again, before))
            whole = again
        delivered = {
            node: part for node, rows in whole.items() if len(part := _ending(run, node, rows, before, through))
        }
        traded = [paper.take(delivered, through) for paper in papers.values()]
        pending.append((delivered, revised, traded, arrivals(delivered, revised, through, streams)))
        if random.random() < 0.5 or through == steps[-1]:
            store.commit(_joined(pending, strategy_id, b"at %d" % through))
            pending.clear()
    result = assemble(run.strategies[0], run, run.placed[0], store, {}, {"session_id": run.session_id})
    store.close()
    result.save(out)
    return result


def _ending(run: Prepared, node: str, rows: Rows, after: int, until: int) -> Rows:
    """Return the records that end in ``(after, until]``."""
    low, high = np.searchsorted(rows.ts + run.plan.nodes[node].node.interval, [after, until], side="right")
    return rows.part(int(low), int(high))


def _revised(
    run: Prepared, before: Mapping[str, Rows], after: Mapping[str, Rows], through: int
) -> Iterator[tuple[str, int, Rows]]:
    """Yield the records that were emitted and are others now."""
    for node, rows in after.items():
        due, known = _ending(run, node, rows, -1, through), before[node]
        old = {ts: known.row(k) for k, ts in enumerate(known.ts.tolist())}
        other = [k for k, ts in enumerate(due.ts.tolist()) if old.get(ts) != due.row(k)]
        if other:
            yield node, 1, Rows(due.ts[other], due.fields, due.values[:, other])


def _as_rows(frame: Frame) -> Rows:
    return Rows.made(frame.ts, {name: frame.columns[name] for name in sorted(frame.columns)})


def _everything(run: Prepared, bars: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the records of all nodes over these bars."""
    frames = {
        k: Frame(rows.ts, dict(zip(rows.fields, rows.values, strict=True)), run.plan.nodes[k].node.interval)
        for k, rows in bars.items()
    }
    return {k: Rows.made(o.ts, dict(o.columns)) for k, o in run_batch(run.plan, frames).items()} | dict(bars)


#: What was delivered, revised, traded, and what arrived.
_Step = tuple[dict[str, Rows], list[tuple[str, int, Rows]], list[Traded], list[Arrival]]


def _joined(pending: list[_Step], strategy_id: str, state: bytes) -> Commit:
    parts: dict[str, list[Rows]] = {}
    for delivered, *_ in pending:
        for node, rows in delivered.items():
            parts.setdefault(node, []).append(rows)
    return Commit(
        records={node: Rows.joined(found) for node, found in parts.items()},
        revised=[one for _, revised, *_ in pending for one in revised],
        traded={strategy_id: [one for *_, traded, _ in pending for one in traded]},
        arrivals=[one for *_, found in pending for one in found],
        checkpoint=state,
    )
