"""Folders of dry-runs, recorded without processes: what a back-test computes is delivered in random pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.engine.batch import run_batch
from qmtl.interval import FOREVER, Span
from qmtl.live.paper import Traded
from qmtl.live.rows import Rows
from qmtl.live.run_store import Commit, RunStore, arrivals
from qmtl.report.result import Result
from qmtl.sdk.backtest import kept_of, stream_names
from qmtl.sdk.dryrun import Prepared, Request
from qmtl.sdk.feeds import open_feeds
from qmtl.sdk.live_result import assemble
from qmtl.sdk.loader import load_strategy
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
    return Prepared([built], request, built.dag, feeds, plan, None, [placed], out / "run", None, "session")  # type: ignore[arg-type]


def record(address: str, data: Mapping[str, Any], out: Path, seed: int = 0, span: Span = EVER) -> Result:
    """Run a strategy on paper in random steps and commits, and write its folder."""
    run = prepared(address, data, out, span)
    random, strategy_id = np.random.default_rng(seed), run.placed[0].strategy_id
    whole = _everything(run)
    store, papers = RunStore(run.folder / "state.db"), run.papers()
    streams, sent = frozenset(run.feeds.bound), dict.fromkeys(whole, 0)
    ends = sorted({int(t) + run.plan.nodes[k].node.interval for k, rows in whole.items() for t in rows.ts})
    steps = sorted({*random.choice(ends, min(len(ends), 40)).tolist(), ends[-1]})
    pending: list[tuple[dict[str, Rows], list[Traded], list[Any]]] = []
    for through in steps:
        delivered = {}
        for node, rows in whole.items():
            stop = int(np.searchsorted(rows.ts, through - run.plan.nodes[node].node.interval, side="right"))
            delivered[node], sent[node] = rows.part(sent[node], stop), stop
        delivered = {node: rows for node, rows in delivered.items() if len(rows)}
        traded = [paper.take(delivered, through) for paper in papers.values()]
        pending.append((delivered, traded, arrivals(delivered, (), through, streams)))
        if random.random() < 0.5 or through == steps[-1]:
            store.commit(_joined(pending, strategy_id, b"at %d" % through))
            pending.clear()
    result = assemble(run.strategies[0], run, run.placed[0], store, {}, {"session_id": run.session_id})
    store.close()
    result.save(out)
    return result


def _everything(run: Prepared) -> dict[str, Rows]:
    frames = {k: b.frame for k, b in run.feeds.bound.items()}
    made = {k: Rows.made(o.ts, dict(o.columns)) for k, o in run_batch(run.plan, frames).items()}
    return made | {k: Rows.made(f.ts, {name: f.columns[name] for name in sorted(f.columns)}) for k, f in frames.items()}


def _joined(pending: list[tuple[dict[str, Rows], list[Traded], list[Any]]], strategy_id: str, state: bytes) -> Commit:
    parts: dict[str, list[Rows]] = {}
    for delivered, _, _ in pending:
        for node, rows in delivered.items():
            parts.setdefault(node, []).append(rows)
    return Commit(
        records={node: Rows.joined(found) for node, found in parts.items()},
        traded={strategy_id: [one for _, traded, _ in pending for one in traded]},
        arrivals=[one for _, _, found in pending for one in found],
        checkpoint=state,
    )
