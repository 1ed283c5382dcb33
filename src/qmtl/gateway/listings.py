"""Routes of queues and nodes, of the Gateway's own state, and the WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from starlette.websockets import WebSocketDisconnect

from qmtl.errors import NotAllowedError, QmtlError, RefusedError
from qmtl.gateway import models
from qmtl.gateway.hub import LaggedError
from qmtl.gateway.state import Gateway, gateway_of
from qmtl.interval import read_interval
from qmtl.wire import problems
from qmtl.wire.auth import READ, allowed
from qmtl.wire.events import LAGGED, QUEUE_GC, QUEUE_UPDATE, Event, event
from qmtl.wire.messages import QueueInfo, QueueQuery

router = APIRouter(tags=["world"])

Tags = Annotated[str, Query(max_length=4000, description="separated by commas")]
Interval = Annotated[str | None, Query(max_length=20, description="seconds, or 1m, 1h, …")]
Match = Annotated[Literal["any", "all"], Query()]

#: Close code: the client was too slow; it may resume.
_TRY_AGAIN = 1013
_POLICY = 1008
_SEND_S = 10.0
_MANY = 1000


@router.get("/nodes", responses=models.problems(401, 403, 422, 503))
async def nodes(request: Request, tags: Tags = "") -> Response:
    """Nodes of the global graph that have all the tags, with their queues and strategies."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    return problems.answer(200, {"nodes": await gateway.parts.dag_manager.nodes(_split(tags))})


@router.get("/queues", responses=models.problems(401, 403, 422, 503))
async def queues(request: Request) -> Response:
    """All queues of the global graph."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    return problems.answer(200, {"queues": await gateway.parts.dag_manager.queues(QueueQuery())})


@router.get("/queues/by_tag", responses=models.problems(401, 403, 422, 503))
async def by_tag(request: Request, tags: Tags, interval: Interval = None, match: Match = "any") -> Response:
    """Queues that have any or all of the tags, of one interval where given."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    found = await gateway.parts.dag_manager.queues(_query(tags, interval, match))
    return problems.answer(200, {"queues": found})


@router.get("/queues/watch", responses=models.problems(401, 403, 422, 503))
async def watch(request: Request, tags: Tags, interval: Interval = None, match: Match = "any") -> Response:
    """The same as a stream of JSON lines: the current set first, then the set after each change."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    query = _query(tags, interval, match)
    first = await gateway.parts.dag_manager.queues(query)
    return StreamingResponse(_sets(gateway, query, first), media_type="application/x-ndjson")


async def _sets(gateway: Gateway, query: QueueQuery, found: list[QueueInfo]) -> AsyncIterator[bytes]:
    yield _line(found)
    before = {queue.topic for queue in found}
    listening = gateway.hub.listen("", None)
    with contextlib.suppress(LaggedError, QmtlError):  # the stream ends; the client asks again
        async for events in listening:
            kinds = {msgspec.json.decode(one, type=Event).type for one in events}
            if kinds & {QUEUE_UPDATE, QUEUE_GC}:
                found = await gateway.parts.dag_manager.queues(query)
                if {queue.topic for queue in found} != before:
                    before = {queue.topic for queue in found}
                    yield _line(found)


def _line(found: list[QueueInfo]) -> bytes:
    return msgspec.json.encode({"queues": found}) + b"\n"


@router.get("/status", responses=models.problems(401, 403))
async def status(request: Request) -> Response:
    """Whether each dependency answers, and its version."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    return problems.answer(200, {**await gateway.status(), "listeners": len(gateway.hub)})


@router.get("/health")
async def health() -> Response:
    """Whether this process lives; it says nothing about dependencies."""
    return problems.answer(200, {"ok": True})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Metrics in the text format of Prometheus."""
    gateway = gateway_of(request)
    gateway.parts.metrics.set("gateway_websocket_clients", len(gateway.hub))
    return Response(gateway.parts.metrics.text(), media_type="text/plain; version=0.0.4")


@router.websocket("/ws")
async def listen(socket: WebSocket, strategy_id: str | None = None, last_event_id: str | None = None) -> None:
    """Control events as CloudEvents, one a text frame: all, or those of one strategy; resumes behind an event id."""
    gateway: Gateway = socket.app.state.gateway
    try:
        header = socket.headers.get("authorization") or f"Bearer {socket.query_params.get('token', '')}"
        await allowed(gateway.parts.authority, header, READ)
    except NotAllowedError as error:
        await socket.close(_POLICY, error.message)
        return
    await socket.accept()
    sending = asyncio.create_task(_send(socket, gateway, strategy_id, last_event_id))
    try:
        while True:
            await socket.receive_bytes()  # nothing is expected; a disconnect ends this
    except (WebSocketDisconnect, KeyError, RuntimeError):
        pass
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(socket: WebSocket, gateway: Gateway, subject: str | None, after: str | None) -> None:
    last = after
    try:
        async for events in gateway.hub.listen(subject, after):
            async with asyncio.timeout(_SEND_S):
                for encoded in events:
                    await socket.send_text(encoded.decode())
            last = events[-1] if events else last  # type: ignore[assignment]
    except (LaggedError, TimeoutError):
        gateway.parts.metrics.count("gateway_websocket_lagged_total")
        await _say_lagged(socket, gateway, last)
    except (WebSocketDisconnect, RuntimeError):  # the client went away
        pass


async def _say_lagged(socket: WebSocket, gateway: Gateway, last: object) -> None:
    position = msgspec.json.decode(last, type=Event).id if isinstance(last, bytes) else last
    told = event(LAGGED, source="/qmtl/gateway", at=gateway.parts.now(), data={"last_event_id": position})
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(1.0):
            await socket.send_text(msgspec.json.encode(told).decode())
            await socket.close(_TRY_AGAIN, "too slow; resume with last_event_id")


def _query(tags: str, interval: str | None, match: Literal["any", "all"]) -> QueueQuery:
    wanted = _split(tags)
    if not wanted:
        raise RefusedError("there is no tag", status=422, hint="tags=a,b")
    try:
        seconds = None if interval is None else read_interval(interval)
    except QmtlError as error:
        raise RefusedError(error.message, status=422, pointer="interval", hint=error.hint) from None
    return QueueQuery(tags=wanted, interval=seconds, match=match)


def _split(tags: str) -> list[str]:
    return [tag for tag in tags.split(",") if tag][:_MANY]
