"""The DAG manager over gRPC: reads bounded requests, answers in acknowledged chunks, lets in whom it may."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import version
from typing import Any

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from qmtl.dagmanager.service import Service
from qmtl.dagmanager.streaming import WINDOW, Sessions, chunks
from qmtl.errors import DocumentError, QmtlError, RefusedError, ServiceError, UsageError
from qmtl.telemetry.logs import logger
from qmtl.telemetry.metrics import Metrics
from qmtl.telemetry.tracing import span
from qmtl.wire.auth import OPERATE, READ, SUBMIT, Authority, allowed
from qmtl.wire.dag import Limits, TooLargeError
from qmtl.wire.decoding import decoded
from qmtl.wire.faults import packed, status_of
from qmtl.wire.grpc import dagmanager_pb2 as pb
from qmtl.wire.grpc import dagmanager_pb2_grpc as rpc
from qmtl.wire.messages import RUN_TYPES, CleanupRequest, DiffRequest, QueueQuery, RedoRequest, Sentinel
from qmtl.wire.sessions import Attending

#: So long the next part of a request or an acknowledgement may take, in seconds.
MESSAGE_S = 10.0
_STATS_A_SECOND = 5
_TEXT, _TAGS = 256, 1000
_PART = 500

_attending = msgspec.json.Decoder(Attending)
_log = logger("dagmanager")


def _metadata(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


async def _caller(authority: Authority, context: Any, scope: str) -> str:
    """Return who calls, or raise NotAllowedError."""
    return (await allowed(authority, _metadata(context).get("authorization"), scope)).owner


async def _answer_error(context: Any, error: QmtlError) -> None:
    context.set_trailing_metadata(packed(error))
    await context.abort(status_of(error), error.message[:_TEXT])


def _told(error: Exception) -> QmtlError:
    if isinstance(error, QmtlError):
        return error
    _log.error("a call failed", exc_info=error)
    return ServiceError(f"{type(error).__name__}: {error}", hint="the log of the DAG manager says more")


def _unary(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def called(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except Exception as error:  # noqa: BLE001  (a fault of the program is told as one, not as a broken line)
            await _answer_error(context, _told(error))

    return called


def _streamed(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(method)
    async def called(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for one in method(self, request, context):
                yield one
        except Exception as error:  # noqa: BLE001  (as above)
            await _answer_error(context, _told(error))

    return called


class DiffServicer(rpc.DiffServiceServicer):
    """``DiffService``."""

    def __init__(self, service: Service, authority: Authority, metrics: Metrics, limits: Limits) -> None:
        self._service, self._authority, self._metrics, self._limits = service, authority, metrics, limits
        self.sessions = Sessions(lambda: asyncio.get_running_loop().time())

    @_streamed
    async def Diff(self, messages: Any, context: Any) -> AsyncIterator[pb.DiffChunk]:  # noqa: N802  (gRPC's name)
        owner = await _caller(self._authority, context, SUBMIT)
        with span("dagmanager.diff", _metadata(context)):
            diff_id, left = await self._begin(messages, owner)
        async for chunk in self._send(diff_id, left, messages):
            yield chunk

    async def _begin(self, messages: Any, owner: str) -> tuple[str, list[pb.DiffChunk]]:
        first = await _next(messages)
        if first is None:
            raise UsageError("the stream ended before a request", hint="send a DiffRequest first")
        if first.WhichOneof("kind") == "resume":
            return self._resumed(first.resume, owner)
        if first.WhichOneof("kind") != "request":
            raise UsageError("the first message is no request", hint="send a DiffRequest or a Resume first")
        request = await self._request(first.request, messages)
        answer = await self._service.diff(request)
        diff_id = uuid.uuid4().hex
        made = chunks(diff_id, answer)
        self.sessions.keep(diff_id, owner, made)
        return diff_id, made

    def _resumed(self, resume: pb.Resume, owner: str) -> tuple[str, list[pb.DiffChunk]]:
        kept = self.sessions.find(resume.diff_id, owner)
        if kept is None:
            raise UsageError("there is no such diff any more", hint="send the request again: it changes nothing twice")
        return resume.diff_id, kept[resume.after :]

    async def _request(self, head: pb.DiffRequest, messages: Any) -> DiffRequest:
        """Put the parts of a request together, bounded in size and time."""
        parts, size, part = [head.dag], len(head.dag), head
        while part.more:
            message = await _next(messages)
            if message is None or message.WhichOneof("kind") != "request":
                raise UsageError("the request is not complete", hint="send its last part with more = false")
            part = message.request
            parts.append(part.dag)
            size += len(part.dag)
            if size > self._limits.size:
                raise TooLargeError(f"the document has more than {self._limits.size:,} bytes", pointer="")
        if head.run_type not in RUN_TYPES:
            raise DocumentError(f"unknown run type {head.run_type[:40]!r}", pointer="/run_type")
        named = head.sentinel
        texts = (head.strategy_id, head.owner, named.version, named.commit_hash, named.release_tag)
        if not head.strategy_id or any(len(text) > _TEXT or not text.isprintable() for text in texts):
            raise DocumentError("a text is missing, too long or not printable", pointer="/strategy_id")
        return DiffRequest(
            strategy_id=head.strategy_id,
            run_type=RUN_TYPES[head.run_type],
            dag=b"".join(parts),
            owner=head.owner,
            sentinel=Sentinel(named.version, named.commit_hash, named.release_tag) if named.version else None,
            dry_run=head.dry_run,
        )

    async def _send(self, diff_id: str, left: list[pb.DiffChunk], messages: Any) -> AsyncIterator[pb.DiffChunk]:
        """Yield chunks within the window; who does not acknowledge in time is left, and may resume for a while."""
        sent = acknowledged = left[0].seq - 1 if left else 0
        last = left[-1].seq if left else 0
        for chunk in left:
            while sent - acknowledged >= WINDOW:
                acknowledged = await self._acknowledged(messages, acknowledged, sent)
            yield chunk
            sent = chunk.seq
        while acknowledged < last:
            acknowledged = await self._acknowledged(messages, acknowledged, sent)
        self.sessions.drop(diff_id)

    async def _acknowledged(self, messages: Any, before: int, sent: int) -> int:
        try:
            message = await _next(messages)
        except UsageError:
            self._metrics.count("diff_chunk_ack_timeout")
            raise
        if message is None:
            return sent  # the client has closed its side: it wants the rest without a window
        if message.WhichOneof("kind") != "ack" or not before <= message.ack.seq <= sent:
            raise UsageError("an acknowledgement was expected", hint="acknowledge chunks by their seq")
        return int(message.ack.seq)

    @_unary
    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseReply:  # noqa: N802
        await _caller(self._authority, context, SUBMIT)
        _bounded([request.strategy_id])
        return pb.ReleaseReply(topics=await self._service.release(request.strategy_id))

    @_unary
    async def Ping(self, request: pb.PingRequest, context: Any) -> pb.PingReply:  # noqa: N802, ARG002
        told = msgspec.json.encode(await self._service.status()) if request.dependencies else b""
        return pb.PingReply(version=version("qmtl"), dependencies=told)


class TagQueryServicer(rpc.TagQueryServicer):
    """``TagQuery``."""

    def __init__(self, service: Service, authority: Authority) -> None:
        self._service, self._authority = service, authority

    @_streamed
    async def Queues(self, request: pb.QueueRequest, context: Any) -> AsyncIterator[pb.Part]:  # noqa: N802
        await _caller(self._authority, context, READ)
        for part in _parts(await self._service.queues(_query(request))):
            yield part

    @_streamed
    async def Nodes(self, request: pb.NodeRequest, context: Any) -> AsyncIterator[pb.Part]:  # noqa: N802
        await _caller(self._authority, context, READ)
        _bounded(request.tags)
        for part in _parts(await self._service.nodes(list(request.tags))):
            yield part


class SessionServicer(rpc.SessionServiceServicer):
    """``SessionService``."""

    def __init__(self, service: Service, authority: Authority) -> None:
        self._service, self._authority = service, authority

    @_unary
    async def Attend(self, request: pb.Attending, context: Any) -> pb.Standing:  # noqa: N802
        await _caller(self._authority, context, SUBMIT)
        standing = await self._service.attend(decoded(_attending, request.json, "message"))
        return pb.Standing(json=msgspec.json.encode(standing))

    @_streamed
    async def Standings(self, request: pb.StandingsRequest, context: Any) -> AsyncIterator[pb.Part]:  # noqa: N802
        await _caller(self._authority, context, READ)
        _bounded([request.strategy_id])
        for part in _parts(await self._service.standings(request.strategy_id)):
            yield part


class AdminServicer(rpc.AdminServiceServicer):
    """``AdminService``."""

    def __init__(self, service: Service, authority: Authority) -> None:
        self._service, self._authority = service, authority
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rate = RateLimitItemPerSecond(_STATS_A_SECOND)

    @_streamed
    async def Cleanup(self, request: pb.CleanupRequest, context: Any) -> AsyncIterator[pb.Part]:  # noqa: N802
        await _caller(self._authority, context, OPERATE)
        _bounded([request.sentinel])
        asked = CleanupRequest(sentinel=request.sentinel or None, dry_run=request.dry_run)
        for part in _parts(await self._service.cleanup(asked)):
            yield part

    @_streamed
    async def GetQueueStats(self, request: pb.QueueRequest, context: Any) -> AsyncIterator[pb.Part]:  # noqa: N802
        owner = await _caller(self._authority, context, READ)
        if not await self._limiter.hit(self._rate, owner):
            raise RefusedError(f"more than {_STATS_A_SECOND} questions a second", status=429, hint="slow down")
        for part in _parts(await self._service.stats(_query(request))):
            yield part

    @_streamed
    async def RedoDiff(self, request: pb.RedoRequest, context: Any) -> AsyncIterator[pb.Part]:  # noqa: N802
        owner = await _caller(self._authority, context, OPERATE)
        _bounded([request.sentinel])
        asked = RedoRequest(request.sentinel, request.dag, owner, rollback=request.rollback, dry_run=request.dry_run)
        for part in _parts([await self._service.redo(asked)]):
            yield part


async def add_to(
    server: grpc.aio.Server, service: Service, authority: Authority, metrics: Metrics, limits: Limits
) -> None:
    """Add all services, and the standard health service, to a server."""
    rpc.add_DiffServiceServicer_to_server(DiffServicer(service, authority, metrics, limits), server)
    rpc.add_TagQueryServicer_to_server(TagQueryServicer(service, authority), server)
    rpc.add_SessionServiceServicer_to_server(SessionServicer(service, authority), server)
    rpc.add_AdminServiceServicer_to_server(AdminServicer(service, authority), server)
    checks = health.aio.HealthServicer()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)  # the process; /status tells of its dependencies
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)


async def _next(messages: Any) -> pb.DiffMessage | None:
    """Return the next message, None at the end of the stream; UsageError when it takes too long."""
    try:
        async with asyncio.timeout(MESSAGE_S):
            return await anext(messages, None)
    except TimeoutError:
        message = f"no message within {MESSAGE_S:.0f} s"
        raise UsageError(message, hint="acknowledge chunks, or come back with a Resume") from None


def _query(request: pb.QueueRequest) -> QueueQuery:
    _bounded(request.tags)
    if request.match not in {"", "any", "all"}:
        raise UsageError(f"match is any or all, not {request.match[:20]!r}")
    interval = request.interval if request.HasField("interval") else None
    return QueueQuery(tags=list(request.tags), interval=interval, match="all" if request.match == "all" else "any")


def _bounded(texts: Sequence[str]) -> None:
    if len(texts) > _TAGS or any(len(text) > _TEXT for text in texts):
        raise UsageError("too many texts, or one is too long")


def _parts(found: Sequence[Any]) -> list[pb.Part]:
    pieces = [found[k : k + _PART] for k in range(0, len(found), _PART)] or [[]]
    return [pb.Part(json=msgspec.json.encode(piece)) for piece in pieces]
