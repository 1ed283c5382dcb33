"""The DAG manager in another process, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import msgspec

from qmtl.backends.breaker import Breaker
from qmtl.backoff import backoff
from qmtl.errors import UnavailableError
from qmtl.ports.dag_manager import DagManager
from qmtl.telemetry.tracing import current
from qmtl.wire.faults import unpacked
from qmtl.wire.grpc import dagmanager_pb2 as pb
from qmtl.wire.grpc import dagmanager_pb2_grpc as rpc
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
    map_crc,
)
from qmtl.wire.sessions import Attending, NodeStanding, Standing

T = TypeVar("T")

_CALL_S, _PING_S, _STATUS_S, _QUERY_S, _BEAT_S = 30.0, 2.0, 4.0, 15.0, 2.0
_ATTEMPTS, _FIRST_S, _LONGEST_S = 5, 0.5, 4.0
_PART = 2**20
_MESSAGE = 8 * 2**20
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in.

    Attributes
    ----------
    token : callable or None
        Returns a bearer token; asked at each call, so it may be renewed.
    ca, certificate, key : path or None
        For mutual TLS, in PEM; with ``ca`` alone only the server is checked.
    attempts : int
        So often a call is tried while nobody answers.
    """

    token: Callable[[], str | None] = lambda: None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    attempts: int = _ATTEMPTS


class RemoteDagManager(DagManager):
    """A client with deadlines, jittered retries and a circuit breaker."""

    kind = "grpc"

    def __init__(self, target: str, access: Access) -> None:
        self._target, self._access = target, access
        self._channel = _channel(target, access)
        self._diffs = rpc.DiffServiceStub(self._channel)
        self._tags = rpc.TagQueryStub(self._channel)
        self._sessions = rpc.SessionServiceStub(self._channel)
        self._admin = rpc.AdminServiceStub(self._channel)
        self._breaker = Breaker()

    async def check(self) -> str:
        async def ping() -> str:
            return str((await self._diffs.Ping(pb.PingRequest(), timeout=_PING_S)).version)

        return await self._once(ping)

    async def status(self) -> dict[str, Any]:
        async def ping() -> dict[str, Any]:
            asked = pb.PingRequest(dependencies=True)
            answer = await self._diffs.Ping(asked, timeout=_STATUS_S)
            return msgspec.json.decode(answer.dependencies, type=dict[str, Any])

        return await self._once(ping)

    async def close(self) -> None:
        await self._channel.close(grace=1.0)

    async def diff(self, request: DiffRequest) -> DiffAnswer:
        return await self._retried(lambda: self._diff(request))

    async def release(self, strategy_id: str) -> list[str]:
        async def call() -> list[str]:
            asked = pb.ReleaseRequest(strategy_id=strategy_id)
            return list((await self._diffs.Release(asked, timeout=_CALL_S, metadata=self._metadata())).topics)

        return await self._retried(call)

    async def nodes(self, tags: list[str]) -> list[NodeInfo]:
        asked = pb.NodeRequest(tags=tags)
        return await self._listed(self._tags.Nodes, asked, list[NodeInfo])

    async def queues(self, query: QueueQuery) -> list[QueueInfo]:
        return await self._listed(self._tags.Queues, _query(query), list[QueueInfo])

    async def attend(self, message: Attending) -> Standing:
        async def call() -> Standing:
            told = pb.Attending(json=msgspec.json.encode(message))
            answer = await self._sessions.Attend(told, timeout=_BEAT_S, metadata=self._metadata())
            return msgspec.json.decode(answer.json, type=Standing)

        return await self._once(call)  # a runner beats again soon

    async def standings(self, strategy_id: str) -> list[NodeStanding]:
        asked = pb.StandingsRequest(strategy_id=strategy_id)
        return await self._listed(self._sessions.Standings, asked, list[NodeStanding], _BEAT_S)

    async def stats(self, query: QueueQuery) -> list[QueueStats]:
        """Return queues with what the broker says of their topics; at most five times a second."""
        return await self._listed(self._admin.GetQueueStats, _query(query), list[QueueStats])

    async def cleanup(self, request: CleanupRequest) -> list[Removal]:
        """Collect garbage, or only say what would be collected."""
        asked = pb.CleanupRequest(sentinel=request.sentinel or "", dry_run=request.dry_run)
        return await self._listed(self._admin.Cleanup, asked, list[Removal])

    async def redo(self, request: RedoRequest) -> Redone:
        """Map a document once more under a version, or take that back."""
        asked = pb.RedoRequest(
            sentinel=request.version, dag=request.dag, rollback=request.rollback, dry_run=request.dry_run
        )
        return (await self._listed(self._admin.RedoDiff, asked, list[Redone]))[0]

    # ----------------------------------------------------------------------------------- the diff

    async def _diff(self, request: DiffRequest) -> DiffAnswer:
        call = self._diffs.Diff(timeout=_CALL_S, metadata=self._metadata())
        try:
            for part in _requests(request):
                await call.write(pb.DiffMessage(request=part))
            return await _assembled(call)
        except asyncio.InvalidStateError:  # the call has ended while it was written to: reading tells why
            return await _assembled(call)
        finally:
            call.cancel()

    # -------------------------------------------------------------------------------------- calls

    async def _listed(
        self, method: Callable[..., Any], asked: Any, kind: type[list[T]], deadline_s: float = _QUERY_S
    ) -> list[T]:
        async def call() -> list[T]:
            found: list[T] = []
            async for part in method(asked, timeout=deadline_s, metadata=self._metadata()):
                found += msgspec.json.decode(part.json, type=kind)
            return found

        return await self._once(call)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """Try again while nobody answers: after half a second, doubling to four, with jitter."""
        clock = asyncio.get_running_loop().time
        for attempt in range(self._access.attempts):
            if wait := self._breaker.left(clock()):
                message = f"{self._target} did not answer several times"
                raise UnavailableError(message, dependency=self.role, retry_after_s=wait)
            try:
                answer = await self._once(call)
            except UnavailableError:
                self._breaker.failed(clock())
                if attempt == self._access.attempts - 1:
                    raise
                await asyncio.sleep(backoff(attempt, _FIRST_S, _LONGEST_S))
            else:
                self._breaker.worked()
                return answer
        raise AssertionError("the loop returns or raises")

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            raise unpacked(error, self._target) from error

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._access.token()
        return (*current().items(), *((("authorization", f"Bearer {token}"),) if token else ()))


def _channel(target: str, access: Access) -> grpc.aio.Channel:
    if access.ca is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    content = [path.read_bytes() if path else None for path in (access.ca, access.key, access.certificate)]
    credentials = grpc.ssl_channel_credentials(*content)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


def _requests(request: DiffRequest) -> list[pb.DiffRequest]:
    """Cut a request into parts that a message takes."""
    pieces = [request.dag[k : k + _PART] for k in range(0, len(request.dag), _PART)] or [b""]
    named = request.sentinel
    head = pb.DiffRequest(
        strategy_id=request.strategy_id,
        run_type=request.run_type,
        owner=request.owner,
        sentinel=pb.Sentinel(version=named.version, commit_hash=named.commit_hash, release_tag=named.release_tag)
        if named
        else None,
        dry_run=request.dry_run,
        dag=pieces[0],
        more=len(pieces) > 1,
    )
    rest = [pb.DiffRequest(dag=piece, more=k < len(pieces) - 1) for k, piece in enumerate(pieces) if k]
    return [head, *rest]


async def _assembled(call: Any) -> DiffAnswer:
    """Read chunks, acknowledge each, and check that all of the answer arrived."""
    queue_map: dict[str, str] = {}
    actions: dict[str, str] = {}
    async for chunk in _chunks(call):
        queue_map |= {item.node_id: item.topic for item in chunk.items}
        actions |= {item.node_id: item.action for item in chunk.items}
        if chunk.HasField("summary"):
            told = chunk.summary
            if map_crc(queue_map) != told.crc:
                raise UnavailableError("the answer of the diff was damaged on its way", dependency="dagmanager")
            return DiffAnswer(queue_map, actions, told.sentinel_id or None, told.new, told.reused, told.buffering)
    raise UnavailableError("the answer of the diff ended early", dependency="dagmanager")


async def _chunks(call: Any) -> AsyncIterator[pb.DiffChunk]:
    while (chunk := await call.read()) is not grpc.aio.EOF:
        await call.write(pb.DiffMessage(ack=pb.Ack(diff_id=chunk.diff_id, seq=chunk.seq)))
        yield chunk
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        details, trailing = await call.details(), await call.trailing_metadata()
        raise grpc.aio.AioRpcError(code, await call.initial_metadata(), trailing, details=details)


def _query(query: QueueQuery) -> pb.QueueRequest:
    return pb.QueueRequest(tags=query.tags, interval=query.interval, match=query.match)
