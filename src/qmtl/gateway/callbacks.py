"""What the DAG manager tells."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from qmtl.errors import DocumentError
from qmtl.gateway import models
from qmtl.gateway.state import Gateway, gateway_of
from qmtl.wire import problems
from qmtl.wire.auth import CALLBACK
from qmtl.wire.bodies import read_json
from qmtl.wire.decoding import decoded
from qmtl.wire.events import FROM_DAG_MANAGER, SENTINEL_WEIGHT, Event

router = APIRouter(tags=["callbacks"])

_BOUND = 4 * 2**20
_decoder = msgspec.json.Decoder(Event)


@router.post(
    "/callbacks/dag-event",
    status_code=202,
    openapi_extra=models.body(models.EventBody),
    responses=models.problems(401, 403, 413, 415, 422, 503),
)
async def dag_event(request: Request) -> Response:
    """Take an event of the DAG manager and pass it on; the same event again changes nothing."""
    gateway = gateway_of(request)
    await gateway.allow(request, CALLBACK)
    kinds = ("application/cloudevents+json", "application/json")
    await take(gateway, _parsed(await read_json(request, _BOUND, kinds=kinds)))
    return problems.answer(202, {"ok": True})


async def take(gateway: Gateway, told: Event) -> None:
    """Publish an event of the DAG manager; a weight is remembered."""
    if told.type == SENTINEL_WEIGHT:
        version, weight = str(told.data.get("version", "")), told.data.get("weight")
        if not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
            raise DocumentError("a weight is a number in [0, 1]", pointer="/data/weight")
        gateway.parts.metrics.set("gateway_sentinel_traffic_ratio", float(weight), version=version)
    await gateway.parts.bus.publish([told])


def _parsed(raw: bytes) -> Event:
    told = decoded(_decoder, raw, "event")
    if told.type not in FROM_DAG_MANAGER:
        known = ", ".join(sorted(FROM_DAG_MANAGER))
        raise DocumentError(f"unknown type {told.type[:60]!r}", pointer="/type", hint=f"one of {known}")
    return told
