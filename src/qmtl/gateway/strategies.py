"""Routes of strategies: submit, list, look, stop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from qmtl.errors import RefusedError
from qmtl.gateway import models
from qmtl.gateway.details import nodes_of
from qmtl.gateway.lifecycle import FINAL, STATES
from qmtl.gateway.state import Gateway, gateway_of
from qmtl.gateway.submissions import submission, unpacked
from qmtl.gateway.worker import tell, transition
from qmtl.ports.strategy_store import Stored
from qmtl.telemetry.tracing import span
from qmtl.wire import problems
from qmtl.wire.auth import OPERATE, READ, SUBMIT
from qmtl.wire.bodies import read_json
from qmtl.wire.events import QUEUE_MAP, Event

router = APIRouter(tags=["strategies"])

#: Base64 makes a document so much larger; the rest of the body is small.
_BODY_FACTOR = 1.4
#: Answers that wait for their map at once; beyond that, they go out without.
_WAITERS = 16
#: Documents above this size are checked in a thread, in bytes.
_LARGE = 200_000

StrategyId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9-]+$")]


@router.post(
    "/strategies",
    status_code=202,
    openapi_extra=models.body(models.SubmissionBody),
    responses={
        202: {"model": models.Accepted, "description": "durable in both stores"},
        **models.problems(401, 403, 409, 413, 415, 422, 429, 503),
    },
)
async def submit(request: Request) -> Response:
    """Submit a strategy.

    202 once it is durable. The same graph, run type and owner again is 409 with the existing id, or 202 with the same
    answer when the request repeats its ``Idempotency-Key``.
    """
    gateway = gateway_of(request)
    began = gateway.parts.now()
    principal = await gateway.allow(request, SUBMIT)
    await gateway.throttle(principal.owner)
    with span("gateway.submit", request.headers) as trace:
        bound = int(gateway.settings.limits.size * _BODY_FACTOR)
        raw = await read_json(request, bound)
        raw = unpacked(raw, request.headers.get("content-encoding", "").lower(), bound)
        key = request.headers.get("idempotency-key")
        read = {"owner": principal.owner, "at": began, "limits": gateway.settings.limits, "trace": trace, "key": key}
        large = len(raw) > _LARGE
        new = await asyncio.to_thread(submission, raw, **read) if large else submission(raw, **read)  # type: ignore[arg-type]
        with gateway.hub.expecting(new.strategy_id, QUEUE_MAP) as mapped:
            accepted = await gateway.ingest.accept(new)
            gateway.parts.metrics.observe("gateway_accept_seconds", gateway.parts.now() - began)
            if accepted.created:
                return await _created(gateway, accepted.strategy_id, mapped, began)
    return await _known(gateway, accepted.strategy_id, key)


async def _created(gateway: Gateway, strategy_id: str, mapped: asyncio.Future[Event], began: float) -> Response:
    """Answer with the map if it comes soon; when many wait already, answer at once."""
    queue_map: dict[str, str] = {}
    if gateway.hub.expectations <= _WAITERS:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(gateway.settings.map_wait_s):
                told = await mapped
            queue_map = told.data["queue_map"]
            for name in ("gateway_e2e_latency_seconds", "gateway_e2e_latency_p95"):
                gateway.parts.metrics.observe(name, gateway.parts.now() - began)
    gateway.parts.metrics.count("gateway_submissions_total", outcome="accepted")
    content = {"strategy_id": strategy_id, "queue_map": queue_map}
    return problems.answer(202, content, {"Location": f"/strategies/{strategy_id}"})


async def _known(gateway: Gateway, strategy_id: str, key: str | None) -> Response:
    stored = await _get(gateway, strategy_id)
    queue_map = stored.placement.queue_map if stored.placement else {}
    content: dict[str, Any] = {"strategy_id": strategy_id, "queue_map": queue_map}
    repeated = key is not None and stored.meta.get("idempotency_key") == key
    gateway.parts.metrics.count("gateway_submissions_total", outcome="repeated" if repeated else "known")
    if repeated:
        return problems.answer(202, content, {"Location": f"/strategies/{strategy_id}"})
    return problems.problem(409, "the strategy is there already", code="QM-CONFLICT", **content)


@router.get("/strategies", responses=models.problems(401, 403, 422, 503))
async def strategies(
    request: Request,
    owner: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    state: Annotated[list[str] | None, Query(max_length=20)] = None,
    before: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List strategies, newest first; ``before`` is the ``seq`` of the last one of the page before."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    unknown = [one for one in state or () if one not in STATES]
    if unknown:
        raise RefusedError(f"unknown state {unknown[0][:40]!r}", status=422, hint=f"one of {', '.join(STATES)}")
    found = await gateway.parts.strategies.find(owner=owner, states=state or (), before=before, limit=limit)
    return problems.answer(200, {"strategies": [_summary(one) for one in found]})


@router.get("/strategies/{strategy_id}", responses=models.problems(401, 403, 404, 422, 503))
async def strategy(request: Request, strategy_id: StrategyId) -> Response:
    """Everything about a strategy: each node's place, how it stands and who computes it; owner; the log of its life."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    stored = await _get(gateway, strategy_id)
    placement = stored.placement
    log = await gateway.parts.strategies.log(strategy_id)
    details = {
        **_summary(stored),
        "queue_map": placement.queue_map if placement else {},
        "nodes": await nodes_of(gateway, stored),
        "sentinel_id": placement.sentinel_id if placement else None,
        "meta": {key: value for key, value in stored.meta.items() if key not in {"trace", "idempotency_key"}},
        "log": [{"at": one.at, "from": one.source, "to": one.target, "cause": one.cause} for one in log],
    }
    return problems.answer(200, details)


@router.get(
    "/strategies/{strategy_id}/status",
    responses={200: {"model": models.Status}, **models.problems(401, 403, 404, 422, 503)},
)
async def status(request: Request, strategy_id: StrategyId) -> Response:
    """Where a strategy is in its life."""
    gateway = gateway_of(request)
    await gateway.allow(request, READ)
    return problems.answer(200, {"status": (await _get(gateway, strategy_id)).state})


@router.delete(
    "/strategies/{strategy_id}",
    status_code=202,
    responses={202: {"model": models.Status}, **models.problems(401, 403, 404, 409, 422, 503)},
)
async def stop(request: Request, strategy_id: StrategyId) -> Response:
    """Stop a strategy: it drains, its queues are released, then it is stopped. Stopping it again is fine."""
    gateway = gateway_of(request)
    principal = await gateway.allow(request, SUBMIT)
    stored = await _get(gateway, strategy_id)
    if stored.owner != principal.owner:
        principal.need(OPERATE)
    if stored.state not in FINAL and stored.state != "draining":
        step = transition(stored, "drain", fence=stored.fence, at=gateway.parts.now())
        (happened,) = await gateway.parts.strategies.transition([step])
        if not happened:
            raise RefusedError("the strategy moved on at this moment", status=409, hint="try again")
        await tell(gateway.parts.bus, [step])
        stored = await _get(gateway, strategy_id)
    if stored.state == "draining":
        await gateway.parts.queue.push([(stored.seq, stored.strategy_id)])
        gateway.ingest.woken.set()
    return problems.answer(202, {"status": stored.state})


async def _get(gateway: Gateway, strategy_id: str) -> Stored:
    stored = (await gateway.parts.strategies.get([strategy_id])).get(strategy_id)
    if stored is None:
        raise RefusedError(f"there is no strategy {strategy_id!r}", status=404, hint="qmtl status lists them")
    return stored


def _summary(stored: Stored) -> dict[str, Any]:
    placement = stored.placement
    return {
        "strategy_id": stored.strategy_id,
        "seq": stored.seq,
        "name": stored.meta.get("name"),
        "owner": stored.owner,
        "run_type": stored.run_type,
        "status": stored.state,
        "detail": stored.detail,
        "dag_hash": stored.dag_hash,
        "new": placement.new if placement else 0,
        "reused": placement.reused if placement else 0,
        "buffering": placement.buffering if placement else 0,
        "submitted_at": stored.submitted_at,
        "updated_at": stored.updated_at,
    }
