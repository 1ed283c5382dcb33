"""The DAG manager itself: fetch, decide, apply, make queues, tell. Servers wrap it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from qmtl.backoff import backoff
from qmtl.batching import Batcher
from qmtl.checkup import Checkup
from qmtl.dagmanager import diff, gc, queues
from qmtl.dagmanager.attendance import Attendance, Rules
from qmtl.dagmanager.diff import Decision
from qmtl.errors import ConflictError, EndedError, QmtlError, UnavailableError, UsageError
from qmtl.ports.blob_store import BlobStore
from qmtl.ports.broker import Broker, TopicInfo
from qmtl.ports.dag_manager import DagManager
from qmtl.ports.graph_store import DROPPING, PENDING, READY, Change, GraphStore, Known, StoredSentinel, Wanted
from qmtl.ports.version_store import VersionStore
from qmtl.telemetry.logs import logger
from qmtl.telemetry.metrics import Metrics
from qmtl.telemetry.tracing import current, span
from qmtl.wire.dag import Document, Limits, read
from qmtl.wire.events import QUEUE_GC, QUEUE_UPDATE, SENTINEL_WEIGHT, TAG_QUERY_UPSERT, Event, event
from qmtl.wire.messages import (
    CleanupRequest,
    DiffAnswer,
    DiffRequest,
    NodeInfo,
    QueueInfo,
    QueueQuery,
    QueueStats,
    Redone,
    RedoRequest,
    Removal,
    Sentinel,
)
from qmtl.wire.sessions import Attending, NodeStanding, Standing

#: A diff that lost so many races in a row is told to come again.
_RACES = 8
_SOURCE = "/qmtl/dagmanager"
#: Diffs that come at once share a fetch, a transaction and a request to the broker: so many at most.
_BATCH, _WAITING = 64, 4096

_log = logger("dagmanager")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a DAG manager works with; ``now`` gives seconds UTC, ``notify`` tells the Gateway."""

    graph: GraphStore
    versions: VersionStore
    broker: Broker
    blobs: BlobStore
    metrics: Metrics
    now: Callable[[], float]
    notify: Callable[[Event], Awaitable[None]]
    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)


class Service(DagManager):
    """Answers diffs and queries, and cleans up."""

    kind = "embedded"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cleaning = asyncio.Lock()
        self._checkup = Checkup((parts.graph, parts.broker, parts.blobs))
        graph, broker = parts.graph.role, parts.broker.role
        self._fetch = Batcher(self._fetch_all, size=_BATCH, bound=_WAITING, role=graph)
        self._apply = Batcher(self._apply_all, size=_BATCH, bound=_WAITING, role=graph)
        self._make = Batcher(self._make_all, size=_BATCH, bound=_WAITING, role=broker)
        self._attendance = Attendance(parts.rules, parts.graph.next_term, self._tell_about, parts.metrics)

    async def check(self) -> str:
        return await self._parts.graph.check()

    async def close(self) -> None:
        for part in (self._parts.graph, self._parts.broker, self._parts.blobs):
            await part.close()

    # ------------------------------------------------------------------------------------- diff

    async def diff(self, request: DiffRequest) -> DiffAnswer:
        began = self._parts.now()
        document = await asyncio.to_thread(read, request.dag, self._parts.limits)
        with span("diff", current(), {"qmtl.dag_hash": document.dag_hash, "qmtl.nodes": len(document.nodes)}):
            answer = await self._diff(request, document)
        took = 1000 * (self._parts.now() - began)
        for name in ("diff_duration_ms", "diff_duration_ms_p95"):
            self._parts.metrics.observe(name, took)
        return answer

    async def _diff(self, request: DiffRequest, document: Document) -> DiffAnswer:
        for attempt in range(_RACES):
            decision, renamed = await self._decide(request, document)
            if request.dry_run:
                return diff.restore(decision.answer, renamed)
            try:
                await self._apply(decision.change)
            except ConflictError as conflict:
                _log.info("diff lost a race", strategy_id=request.strategy_id, why=conflict.message)
                await asyncio.sleep(backoff(attempt, *queues.WAITS_S) if attempt else 0)
                continue
            await self._carry_out(request, decision)
            return diff.restore(decision.answer, renamed)
        raise UnavailableError("too many diffs of the same nodes at once", dependency=self._parts.graph.role)

    async def _decide(self, request: DiffRequest, document: Document) -> tuple[Decision, dict[str, str]]:
        known = await self._fetch(diff.wanted(document, request))
        renamed = diff.collisions(document, known)
        if renamed:
            document = diff.rename(document, renamed)
            known = diff.merged(known, await self._fetch(diff.wanted(document, request)))
        return diff.decide(request, document, known, self._parts.now()), renamed

    async def _fetch_all(self, asked: list[list[Wanted]]) -> list[Known]:
        """Fetch what several diffs need at once; each gets all of it."""
        wanted = asked[0] if len(asked) == 1 else list(dict.fromkeys(one for some in asked for one in some))
        return [await self._parts.graph.fetch(wanted)] * len(asked)

    async def _apply_all(self, changes: list[Change]) -> list[QmtlError | bool]:
        return [verdict or True for verdict in await self._parts.graph.apply(changes)]

    async def _carry_out(self, request: DiffRequest, decision: Decision) -> None:
        if decision.unready:
            await self._make({queue.topic: queue.quality for queue in decision.unready})
        if decision.keeps:
            await self._parts.broker.keep(decision.keeps)
        if request.sentinel is None:
            self._parts.metrics.set("sentinel_gap_count", 1)
        if decision.change.queues:
            made = [{"topic": q.topic, "tags": list(q.tags), "interval": q.interval} for q in decision.change.queues]
            await self._tell(QUEUE_UPDATE, {"queues": made, "strategy_id": request.strategy_id})
            tagged = [
                {"topic": q.topic, "node_id": q.node_id, "tags": list(q.tags), "interval": q.interval}
                for q in decision.change.queues
                if q.tags
            ]
            if tagged:
                await self._tell(TAG_QUERY_UPSERT, {"queues": tagged})

    async def _make_all(self, wanted: list[dict[str, str]]) -> list[bool]:
        together = {topic: quality for one in wanted for topic, quality in one.items()}
        for topics in queues.in_pieces([*together]):
            piece = {topic: together[topic] for topic in topics}
            await queues.ensure(self._parts.broker, piece, self._parts.metrics)
            await self._parts.graph.mark(topics, READY)
        return [True] * len(wanted)

    async def release(self, strategy_id: str) -> list[str]:
        topics = await self._parts.graph.release(strategy_id, self._parts.now())
        await self._attendance.end(strategy_id)
        return topics

    # --------------------------------------------------------------------------------- sessions

    async def watch(self) -> None:
        """Let sessions expire and tell of it, until cancelled."""
        await self._attendance.run()

    async def attend(self, message: Attending) -> Standing:
        return await self._attendance.attend(message)

    async def standings(self, strategy_id: str) -> list[NodeStanding]:
        return await self._attendance.standings(strategy_id)

    # ---------------------------------------------------------------------------------- queries

    async def nodes(self, tags: list[str]) -> list[NodeInfo]:
        return await self._parts.graph.nodes(tags)

    async def queues(self, query: QueueQuery) -> list[QueueInfo]:
        return await self._parts.graph.queues(query)

    async def stats(self, query: QueueQuery) -> list[QueueStats]:
        """Return queues with what the broker says of their topics."""
        found = await self._parts.graph.queues(query)
        described: dict[str, TopicInfo] = {}
        for topics in queues.in_pieces([queue.topic for queue in found]):
            described |= await self._parts.broker.describe(topics)
        return [_stats(queue, described.get(queue.topic)) for queue in found]

    async def status(self) -> dict[str, Any]:
        return await self._checkup.status()

    # -------------------------------------------------------------------------------- versions

    async def weigh(self, version: str, weight: float) -> None:
        """Store the weight of a version and tell the Gateway.

        Raises
        ------
        UsageError
            A weight outside [0, 1], or a version that nothing has.
        """
        if not 0.0 <= weight <= 1.0:
            raise UsageError(f"weight {weight} is not in [0, 1]", hint="it is a share")
        if not await self._parts.versions.weigh(version, weight):
            raise UsageError(f"there is no version {version!r}", hint="versions come with submissions")
        self._parts.metrics.set("dagmgr_active_version_weight", weight, version=version)
        await self._tell(SENTINEL_WEIGHT, {"version": version, "weight": weight})

    async def redo(self, request: RedoRequest) -> Redone:
        """Map a document once more under a version; a rollback takes the version's weight and those uses back.

        Raises
        ------
        DocumentError
            The document is not valid.
        UsageError
            It was rolled back before, or there is no version to roll back.
        """
        document = await asyncio.to_thread(read, request.dag, self._parts.limits)
        strategy_id = f"redo-{request.version}-{document.dag_hash[:12]}"
        if request.rollback:
            if not request.dry_run:
                await self.weigh(request.version, 0.0)
            released = [] if request.dry_run else await self.release(strategy_id)
            return Redone(strategy_id, {}, {}, released)
        sentinel = Sentinel(request.version)
        asked = DiffRequest(strategy_id, "live", request.dag, request.owner, sentinel, dry_run=request.dry_run)
        try:
            answer = await self.diff(asked)
        except EndedError:
            hint = "give the version another name"
            raise UsageError(f"{request.version!r} was rolled back with this document", hint=hint) from None
        return Redone(strategy_id, answer.queue_map, answer.actions, [])

    async def sentinels(self) -> list[StoredSentinel]:
        """Return all versions."""
        return await self._parts.versions.sentinels()

    # ------------------------------------------------------------------------------ garbage

    async def resume(self) -> None:
        """Finish what a crash left half-done: queues that were not made yet, and those that were being dropped."""
        await self._attendance.open()
        left = await self._parts.graph.queues(QueueQuery())
        await self._drop([queue.topic for queue in left if queue.state == DROPPING])
        await self._make({queue.topic: queue.quality for queue in left if queue.state == PENDING})

    async def cleanup(self, request: CleanupRequest) -> list[Removal]:
        """Collect garbage, or only say what would be collected; every queue and version has a reason."""
        async with self._cleaning:
            found = await self._parts.graph.queues(QueueQuery())
            sentinels = await self._parts.versions.sentinels()
            self._parts.metrics.set("orphan_queue_total", sum(not queue.strategies for queue in found))
            plan = gc.plan(found, sentinels, self._parts.now())
            if request.sentinel is not None:
                plan = [_forced(one) for one in plan if one.subject == request.sentinel]
                if not plan:
                    raise UsageError(f"there is no version {request.sentinel!r}")
            if request.dry_run:
                return plan
            gone = await self._collect(plan, {queue.topic: queue for queue in found}, sentinels)
            return [msgspec.structs.replace(one, done=one.subject in gone) for one in plan]

    async def _collect(
        self, plan: Sequence[Removal], found: dict[str, QueueInfo], sentinels: Sequence[StoredSentinel]
    ) -> set[str]:
        gone: set[str] = set()
        for one in plan:
            if one.action == "archive":
                content = next(sentinel for sentinel in sentinels if sentinel.version == one.subject)
                await self._parts.blobs.put(f"sentinels/{one.subject}.json", msgspec.json.encode(content))
                if await self._parts.versions.drop_sentinel(one.subject):
                    gone.add(one.subject)
        load = await self._parts.broker.load()
        for quality in gc.POLICIES:
            topics = [one.subject for one in plan if one.action == "drop" and found[one.subject].quality == quality]
            for batch in gc.batches(topics, load):
                since = gc.unused_since(quality, self._parts.now())
                gone.update(await self._drop(await self._parts.graph.mark(batch, DROPPING, unused_since=since)))
        return gone

    async def _drop(self, marked: Sequence[str]) -> list[str]:
        """Delete topics that the graph has marked: no diff can use them any more."""
        if not marked:
            return []
        await self._parts.broker.delete(marked)
        gone = await self._parts.graph.forget(marked)
        await self._tell(QUEUE_GC, {"topics": gone})
        return gone

    async def _tell(self, kind: str, data: dict[str, object]) -> None:
        await self._tell_about(kind, "", data)

    async def _tell_about(self, kind: str, subject: str, data: dict[str, object]) -> None:
        await self._parts.notify(event(kind, source=_SOURCE, at=self._parts.now(), subject=subject, data=data))


def _stats(queue: QueueInfo, topic: TopicInfo | None) -> QueueStats:
    if topic is None:
        return QueueStats(queue, exists=False)
    return QueueStats(queue, True, topic.partitions, topic.replication, topic.retention_ms, topic.records)


def _forced(removal: Removal) -> Removal:
    """Drop a version now if nothing uses it, whatever its age."""
    young = removal.action == "keep" and removal.reason.startswith("no strategy")
    return msgspec.structs.replace(removal, action="archive", reason="asked for") if young else removal
