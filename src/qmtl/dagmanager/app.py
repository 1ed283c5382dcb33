"""The DAG manager over HTTP: weights of versions, garbage collection, state and metrics."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response

from qmtl.dagmanager.service import Service
from qmtl.errors import QmtlError
from qmtl.telemetry.metrics import Metrics
from qmtl.wire import problems
from qmtl.wire.auth import OPERATE, READ, Authority, allowed
from qmtl.wire.bodies import read_json
from qmtl.wire.decoding import decoded
from qmtl.wire.messages import CleanupRequest

_BOUND = 65_536
router = APIRouter()


class Weight(msgspec.Struct, frozen=True):
    """How much of the traffic a version decides, as a share."""

    version: str
    weight: float


_weight, _cleanup = msgspec.json.Decoder(Weight), msgspec.json.Decoder(CleanupRequest)


class _State:
    """What the routes work with."""

    def __init__(self, service: Service, authority: Authority, metrics: Metrics) -> None:
        self.service, self.authority, self.metrics = service, authority, metrics

    async def allow(self, request: Request, scope: str) -> None:
        await allowed(self.authority, request.headers.get("authorization"), scope)


def application(service: Service, authority: Authority, metrics: Metrics) -> FastAPI:
    """Return the ASGI application."""
    app = FastAPI(title="QMTL DAG manager", version="1", docs_url=None, redoc_url=None)
    app.state.manager = _State(service, authority, metrics)
    app.add_exception_handler(QmtlError, problems.handle)
    app.include_router(router)
    return app


@router.post("/callbacks/sentinel-traffic", status_code=202)
async def sentinel_traffic(request: Request) -> Response:
    """Store the weight of a version and tell the Gateway."""
    state = _state(request)
    await state.allow(request, OPERATE)
    asked = decoded(_weight, await read_json(request, _BOUND), "body")
    await state.service.weigh(asked.version, asked.weight)
    return problems.answer(202, {"ok": True})


@router.post("/admin/gc-trigger")
async def gc_trigger(request: Request) -> Response:
    """Collect garbage, or only say what would be collected."""
    state = _state(request)
    await state.allow(request, OPERATE)
    asked = decoded(_cleanup, await read_json(request, _BOUND), "body")
    return problems.answer(200, {"removals": await state.service.cleanup(asked)})


@router.get("/status")
async def status(request: Request) -> Response:
    """Whether each dependency answers, and its version."""
    state = _state(request)
    await state.allow(request, READ)
    return problems.answer(200, await state.service.status())


@router.get("/health")
async def health() -> Response:
    """Whether this process lives; it says nothing about dependencies."""
    return problems.answer(200, {"ok": True})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Metrics in the text format of Prometheus."""
    return Response(_state(request).metrics.text(), media_type="text/plain; version=0.0.4")


def _state(request: Request) -> _State:
    found: _State = request.app.state.manager
    return found
