"""``qmtl up``: Gateway, DAG manager and their stores in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.cli import service_options as options
from qmtl.cli.options import say

if TYPE_CHECKING:
    from qmtl.cli.wiring import Urls
    from qmtl.gateway.parts import Settings
    from qmtl.gateway.state import Gateway
    from qmtl.wire.auth import Authority

GrpcPort = Annotated[
    int | None, typer.Option("--grpc-port", min=0, max=65535, help="Serve the DAG manager over gRPC too.")
]

WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="End when standard input is closed.")]


def up(
    port: options.Port = 8000,
    data: options.DataDir = Path("qmtl-data"),
    host: options.Host = "127.0.0.1",
    no_auth: options.NoAuth = False,
    jwks_url: options.JwksUrl = None,
    secret_file: options.SecretFile = None,
    graph_url: options.GraphUrl = None,
    broker_url: options.BrokerUrl = None,
    archive_url: options.ArchiveUrl = None,
    postgres_dsn: options.PostgresDsn = None,
    redis_dsn: options.RedisDsn = None,
    grpc_port: GrpcPort = None,
    sentinels: options.Sentinels = True,
    lease: options.Lease = 30.0,
    session_timeout: options.SessionTimeout = 5.0,
    log_level: options.LogLevel = "warning",
    with_parent: WithParent = False,
) -> None:
    """Run Gateway and DAG manager until Ctrl-C; the first line on stdout is the URL, and then it is ready."""
    from qmtl.cli.serving import run
    from qmtl.cli.wiring import Urls, authority
    from qmtl.gateway.parts import Settings
    from qmtl.telemetry.logs import configure

    configure(log_level)
    urls = Urls.in_folder(
        data, graph=graph_url, broker=broker_url, archive=archive_url, strategies=postgres_dsn, queue=redis_dsn
    )
    allowed = authority(no_auth=no_auth, host=host, jwks_url=jwks_url, secret_file=secret_file or data / "secret")
    settings = Settings(sentinels=sentinels, lease_s=lease)
    run(lambda: _up(urls, allowed, settings, (host, port), grpc_port, session_timeout, with_parent=with_parent))
    say("stopped")


async def _up(
    urls: Urls,
    allowed: Authority,
    settings: Settings,
    place: tuple[str, int],
    grpc_port: int | None,
    session_timeout_s: float,
    *,
    with_parent: bool,
) -> None:
    from contextlib import AsyncExitStack

    from qmtl.cli import wiring
    from qmtl.cli.serving import bound, grpc_served, served, until_stopped, url_of
    from qmtl.gateway.app import application
    from qmtl.gateway.callbacks import take
    from qmtl.telemetry.metrics import Metrics

    metrics, listening = Metrics(), bound(*place)
    gateways: list[Gateway] = []
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(
            wiring.dag_manager(urls, metrics, lambda told: take(gateways[0], told), session_timeout_s)
        )
        gateway = await stack.enter_async_context(wiring.gateway(urls, manager, allowed, metrics, settings))
        gateways.append(gateway)
        await wiring.resumed(manager)
        if grpc_port is not None:
            address = f"{place[0]}:{grpc_port}"
            reached = wiring.for_dag_manager(allowed)
            await stack.enter_async_context(grpc_served(manager, reached, metrics, address))
        await stack.enter_async_context(served(application(gateway), listening))
        url = url_of(listening)
        wiring.leave_tokens(allowed, url)
        print(url, flush=True)
        await until_stopped(watched=gateway.ended, with_parent=with_parent)
