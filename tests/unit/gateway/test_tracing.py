"""One trace from the request through the store and gRPC to the diff."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request

from qmtl.backends.dag_manager import Access, RemoteDagManager
from qmtl.cli import wiring
from qmtl.dagmanager.servicer import add_to
from qmtl.gateway.app import application
from qmtl.gateway.parts import Settings
from qmtl.gateway.strategies import submit
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.auth import Anybody
from qmtl.wire.dag import Limits
from stack.documents import chain

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def request(app, body):
    raw = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]

    async def receive():
        return {"type": "http.request", "body": raw, "more_body": False}

    return Request({"type": "http", "method": "POST", "path": "/strategies", "headers": headers, "app": app}, receive)


async def nobody(event):
    """Nobody is told."""


@pytest.mark.anyio
async def test_the_trace_of_a_client_reaches_the_diff(spans, tmp_path):
    urls, metrics = wiring.Urls.in_folder(tmp_path), Metrics()
    server = grpc.aio.server()
    async with wiring.dag_manager(urls, metrics, nobody) as manager:
        await add_to(server, manager, Anybody(), metrics, Limits())
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        remote = RemoteDagManager(f"127.0.0.1:{port}", Access())
        async with wiring.gateway(urls, remote, Anybody(), metrics, Settings()) as gateway:
            loops = asyncio.create_task(gateway.run())
            await gateway.hub.ready.wait()
            response = await submit(
                request(application(gateway), {"dag_json": chain("a"), "run_type": "live", "meta": {}})
            )
            assert response.status_code == 202
            assert len(json.loads(response.body)["queue_map"]) == 2
            loops.cancel()
            await asyncio.gather(loops, return_exceptions=True)
        await remote.close()
        await server.stop(grace=None)
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) >= {"gateway.submit", "gateway.map", "dagmanager.diff", "diff"}
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {TRACE}
    assert found["diff"].attributes["qmtl.nodes"] == 2
    assert len(found["diff"].attributes["qmtl.dag_hash"]) == 64
