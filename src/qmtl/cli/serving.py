"""Serves an ASGI application until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.errors import UsageError

if TYPE_CHECKING:
    from qmtl.dagmanager.service import Service
    from qmtl.telemetry.metrics import Metrics
    from qmtl.wire.auth import Authority

_GRACE_S = 5
#: Requests make many objects that die at once: cycles are looked for after so many, more rarely than usual.
_GARBAGE = 20_000
#: Calls at once; more are refused, so a flood cannot grow memory.
_CALLS = 512
_GRPC = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 * 2**20),
    ("grpc.max_metadata_size", 16_384),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises
    ------
    UsageError
        The port is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        hint = "another program has it; choose another with --port" if port else None
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}", hint=hint) from error
    return made


def url_of(made: socket.socket) -> str:
    """Return the URL that a socket is reached at."""
    host, port = made.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def served(app: Any, made: socket.socket) -> AsyncIterator[None]:
    """Serve while the block runs; it is ready when the block begins."""
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, access_log=False, ws_max_queue=4, ws_per_message_deflate=False,
        timeout_graceful_shutdown=_GRACE_S, lifespan="on", h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # ours are below
    running = asyncio.create_task(server.serve(sockets=[made]))
    try:
        while not server.started:
            if running.done():
                running.result()
                raise UsageError("the server ended before it was ready", hint="its log says why")
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await running


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates of a server, PEM; with ``ca`` clients have to show one too."""

    ca: Path | None
    certificate: Path
    key: Path

    @classmethod
    def of(cls, ca: Path | None, certificate: Path | None, key: Path | None) -> Tls | None:
        """Return what was given, or None; half of it is an error."""
        if certificate is None and key is None and ca is None:
            return None
        if certificate is None or key is None:
            raise UsageError("--tls-cert and --tls-key belong together", hint="give both, and --tls-ca for mutual TLS")
        return cls(ca, certificate, key)


@asynccontextmanager
async def grpc_served(
    manager: Service, authority: Authority, metrics: Metrics, address: str, tls: Tls | None = None
) -> AsyncIterator[str]:
    """Serve a DAG manager over gRPC while the block runs; yields ``host:port``."""
    import grpc

    from qmtl.dagmanager.servicer import add_to
    from qmtl.wire.dag import Limits

    server = grpc.aio.server(options=_GRPC, maximum_concurrent_rpcs=_CALLS)
    await add_to(server, manager, authority, metrics, Limits())
    host, _, asked = address.rpartition(":")
    try:
        port = server.add_secure_port(address, _credentials(tls)) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        hint = "another program has it; choose another port"
        raise UsageError(f"cannot listen on {address}", hint=hint if asked != "0" else None) from error
    await server.start()
    try:
        yield f"{host}:{port}"
    finally:
        await server.stop(grace=1.0)


def _credentials(tls: Tls) -> Any:
    import grpc

    ca = tls.ca.read_bytes() if tls.ca else None
    pair = [(tls.key.read_bytes(), tls.certificate.read_bytes())]
    return grpc.ssl_server_credentials(pair, root_certificates=ca, require_client_auth=ca is not None)


async def until_stopped(*, watched: Callable[[], Awaitable[Any]] | None = None, with_parent: bool = False) -> None:
    """Wait for SIGINT or SIGTERM, for the end of standard input if asked to, or for something that must not end."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if with_parent:  # nobody writes there: it can be read when the other end is closed
        loop.add_reader(sys.stdin.fileno(), stop.set)
    waiting = asyncio.create_task(stop.wait())
    others = [asyncio.ensure_future(watched())] if watched is not None else []
    done, _ = await asyncio.wait([waiting, *others], return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a service on the fastest event loop there is; what is loaded by now is never looked at for garbage."""
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())  # type: ignore[arg-type]
    else:
        uvloop.run(main())  # type: ignore[arg-type]
