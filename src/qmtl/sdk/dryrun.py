"""Dry-runs: strategies on the live loop, with paper money and shared computation."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.calendars import Calendar
from qmtl.errors import RefusedError, ServiceError, UsageError
from qmtl.graph.dag import Dag
from qmtl.interval import Span
from qmtl.sdk.backtest import kept_of, stream_names, trade_of
from qmtl.sdk.feeds import Feeds, open_feeds
from qmtl.sdk.stack import Stack
from qmtl.sdk.strategy import Built
from qmtl.sdk.submission import submit_built
from qmtl.sdk.tag_queries import Resolved, resolved, told
from qmtl.sdk.trade import TARGET_KINDS, traded_stream
from qmtl.wire.client import GatewayClient, Mapped

if TYPE_CHECKING:
    from qmtl.engine.plan import Plan
    from qmtl.live.machine import Job
    from qmtl.live.paper import Paper
    from qmtl.sdk.run_folder import RunFolder, Terms
    from qmtl.trading.costs import Costs


@dataclass(frozen=True)
class Request:
    """What was asked of a dry-run; see :class:`qmtl.sdk.runner.LiveOptions`."""

    span: Span
    calendar: Calendar
    speed: float | None = 1.0
    until_end: bool = False
    faults: str = ""
    on_missing: str = "skip"
    data: Mapping[str, Any] | None = None
    costs: Costs | None = None
    cash: float | None = None
    gateway_url: str | None = None
    out: Path | None = None
    metrics_port: int | None = None
    memory_limit: float | None = None
    mode: str = "dry-run"
    addresses: Sequence[str] = ()


@dataclass(frozen=True)
class Prepared:
    """Everything that a dry-run needs, opened.

    ``placed`` has what became of each submission; ``accounts`` the ids under which each account is kept, which stay
    the same when a run is stopped, submitted anew and goes on.
    """

    strategies: Sequence[Built]
    request: Request
    resolved: Resolved
    feeds: Feeds
    plan: Plan
    client: GatewayClient
    placed: Sequence[Mapped]
    folder: Path
    stack: Stack | None
    session_id: str
    place: RunFolder | None = None
    accounts: Sequence[str] = ()

    @property
    def account_ids(self) -> Sequence[str]:
        """Ids under which the accounts are kept, in the order of the strategies."""
        return self.accounts or [made.strategy_id for made in self.placed]

    @property
    def wanted(self) -> frozenset[str]:
        """Ids of nodes whose records are kept: those with a name, targets and streams, as in a back-test."""
        streams = {stream.node_id for built in self.strategies for stream in built.dag.streams}
        return frozenset(streams.union(*(kept_of(built) for built in self.strategies)))

    def job(self, resolved: Resolved | None = None) -> Job:
        """Return what the machine runs, with the upstreams that tag queries have now."""
        from qmtl.live.machine import Job

        found = resolved or self.resolved
        plan = self.plan if resolved is None else plan_of(found.dag, self.feeds)
        topics = {node: topic for node, topic in self.topics.items() if node in plan.nodes}
        topics |= {queue.node_id: queue.topic for queue in found.queues}
        wanted = self.wanted.union(queue.node_id for queue in found.queues)  # recorded: parity computes from them
        return Job(plan, topics, wanted & plan.nodes.keys(), varying=found.varying, upstreams=told(found.queues))

    @property
    def topics(self) -> dict[str, str]:
        """Topic of each node. A node that only borrows the queue of a near one is computed here, without a topic."""
        return {node: topic for one in self.placed for node, topic in one.topics.items()}

    @property
    def labels(self) -> dict[str, str]:
        """What people call each node."""
        return {node: label for built in reversed(self.strategies) for node, label in built.dag.labels().items()}

    @property
    def nodes_by_strategy(self) -> dict[str, list[str]]:
        """Ids of the nodes of each strategy."""
        pairs = zip(self.placed, self.strategies, strict=True)
        return {made.strategy_id: [node.node_id for node in built.dag.nodes] for made, built in pairs}

    @property
    def places(self) -> list[Path | None]:
        """Folder of each result: the one that was asked for, or in it one for each of several strategies."""
        out = self.request.out
        if out is None or len(self.strategies) == 1:
            return [out] * len(self.strategies)
        return [out / built.name for built in self.strategies]

    def computable(self, made: Mapped, built: Built) -> list[str]:
        """Return the topics of a strategy that this runner can fill: all but streams that it has no feed for."""
        streams = {stream.node_id for stream in built.dag.streams} - self.feeds.by_node.keys()
        return sorted(topic for node, topic in made.topics.items() if node not in streams)

    def papers(self) -> dict[str, Paper]:
        """Return an account for each strategy that trades."""
        from qmtl.live.paper import Paper
        from qmtl.live.paper import Terms as Made
        from qmtl.trading.costs import Costs

        papers = {}
        for built, account in zip(self.strategies, self.account_ids, strict=True):
            trade = trade_of(built)
            if trade is None:
                continue
            stream, cash = traded_stream(trade), self.request.cash
            papers[account] = Paper(
                Made(
                    strategy_id=account,
                    node_id=trade.node_id,
                    interval=trade.interval,
                    kind=TARGET_KINDS[trade.node_type],
                    stream_id=stream.node_id,
                    stream_interval=stream.interval,
                    symbols=stream.symbols or (stream.label,),
                    costs=self.request.costs or built.execution.costs or Costs(),
                    cash=built.execution.cash if cash is None else cash,
                    span=self.request.span,
                )
            )
        return papers

    def close(self) -> None:
        """Let go of feeds and of the stack that was started for this run."""
        self.feeds.close()
        if self.stack is not None:
            self.stack.close()

    def withdraw(self) -> None:
        """Stop the strategies that this run has submitted: it does not come about."""
        _withdrawn(self.client, self.placed)


def prepare(strategies: Sequence[Built], request: Request) -> Prepared:
    """Open data, stack and folder, and submit the strategies.

    Raises
    ------
    QmtlError
        Bad data or options, a Gateway that does not answer or refuses.
    """
    from qmtl.sdk.run_folder import RunFolder

    check_orders(strategies, request)
    begun = resolved(strategies, ())
    feeds = asyncio.run(
        open_feeds(
            begun.dag,
            stream_names(strategies),
            request.data,
            span=request.span,
            speed=request.speed,
            calendar=request.calendar,
            on_missing=request.on_missing,
            faults=request.faults,
        )
    )
    if request.until_end and feeds.horizon is None:
        raise UsageError("there is no end to run to", hint="give recorded bars: data={'price': 'bars.parquet'}")
    place = RunFolder(request.out, terms(strategies, request))
    stack: Stack | None = None
    try:
        stack = None if request.gateway_url else Stack(place.path / "world")
        client = GatewayClient(request.gateway_url or (stack.url if stack else ""))
        plan = plan_of(begun.dag, feeds)
        placed = _submitted(strategies, client, request.mode, plan)
        accounts = place.accounts([made.strategy_id for made in placed])
    except BaseException:  # whatever it is, what was opened is closed
        if stack is not None:
            stack.close()
        place.close()
        feeds.close()
        raise
    return Prepared(
        strategies, request, begun, feeds, plan, client, placed, place.path, stack,
        uuid.uuid4().hex, place, accounts,
    )  # fmt: skip


def plan_of(union: Dag, feeds: Feeds) -> Plan:
    """Return the plan of everything, with the fields that the feeds have."""
    from qmtl.engine.plan import Plan

    drafted = Plan.of(union)
    fields = {k: p.fields or () for k, p in drafted.nodes.items() if p.is_source}
    return Plan.of(union, fields | {k: tuple(sorted(b.frame.fields)) for k, b in feeds.bound.items()})


def terms(strategies: Sequence[Built], request: Request) -> Terms:
    """Return what has to be the same for a run to go on."""
    from qmtl.sdk.run_folder import Terms

    return Terms(
        strategies={built.name: _hash_of(built) for built in strategies},
        mode=request.mode,
        calendar=request.calendar.name,
        on_missing=request.on_missing,
        span=(request.span.start, request.span.end),
        cash=request.cash,
        costs=repr(request.costs),
    )


def _hash_of(built: Built) -> str:
    names = sorted(built.dag.names.items())
    said = [*sorted(node.node_id for node in built.dag.nodes), *map(repr, names), repr(built.execution)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def check_orders(strategies: Sequence[Built], request: Request) -> None:
    """Refuse to send orders: there is nobody to send them to yet."""
    trading = [built.name for built in strategies if trade_of(built) is not None]
    if request.mode == "live" and trading:
        raise UsageError(
            f"{trading[0]} trades, and no broker is configured: live orders cannot be sent",
            hint="run it with paper money: qmtl dryrun, or Runner.dryrun",
        )


def host() -> str:
    """Return where this runner is, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _submitted(strategies: Sequence[Built], client: GatewayClient, mode: str, plan: Plan) -> list[Mapped]:
    """Submit all or none; streams have to keep what a stand-by begins with when it takes over."""
    placed: list[Mapped] = []
    keep = {stream.node_id: plan.history(stream.node_id) for stream in plan.dag.streams}
    try:
        for built in strategies:
            placed.append(submit_built(built, client.url, mode, keep=keep))
            _check_placed(built, placed[-1])
    except BaseException:  # also Ctrl-C: what was submitted is taken back
        _withdrawn(client, placed)
        raise
    return placed


def _check_placed(built: Built, made: Mapped) -> None:
    if made.state in {"failed", "rejected"}:
        raise RefusedError(f"the Gateway {made.state} {built.name}: {made.detail}", status=422)


def _withdrawn(client: GatewayClient, placed: Sequence[Mapped]) -> None:
    for made in placed:
        if made.created and made.state not in {"failed", "rejected"}:
            with suppress(ServiceError):  # what led here is told
                client.stop(made.strategy_id)
