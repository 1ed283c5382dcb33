"""``qmtl gateway`` and ``qmtl-gateway``: the Gateway as a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.cli import service_options as options
from qmtl.cli.options import say
from qmtl.errors import UsageError

if TYPE_CHECKING:
    from qmtl.backends.dag_manager import Access
    from qmtl.cli.wiring import Urls
    from qmtl.gateway.parts import Settings
    from qmtl.wire.auth import Authority

Target = Annotated[
    str, typer.Option("--dagm-target", envvar="QMTL_DAGM_TARGET", help="host:port of the DAG manager's gRPC.")
]
Role = Annotated[str, typer.Option("--role", metavar="all|api|worker", help="api takes submissions, worker maps them.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Loops that map submissions.")]

_ROLES = ("all", "api", "worker")


def gateway(
    redis_dsn: options.RedisDsn = None,
    postgres_dsn: options.PostgresDsn = None,
    dagm_target: Target = "localhost:50051",
    port: options.Port = 8000,
    host: options.Host = "127.0.0.1",
    data: options.DataDir = Path("qmtl-data"),
    role: Role = "all",
    workers: Workers = 2,
    no_auth: options.NoAuth = False,
    jwks_url: options.JwksUrl = None,
    secret_file: options.SecretFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    sentinels: options.Sentinels = True,
    lease: options.Lease = 30.0,
    log_level: options.LogLevel = "warning",
) -> None:
    """Run a Gateway until Ctrl-C; what is not given by URL is embedded, in the data folder."""
    from qmtl.backends.dag_manager import Access
    from qmtl.cli.serving import run
    from qmtl.cli.wiring import Urls, authority, service_token
    from qmtl.gateway.parts import Settings
    from qmtl.telemetry.logs import configure
    from qmtl.wire.auth import DAG_MANAGER_AUDIENCE, READ, SUBMIT

    configure(log_level)
    if role not in _ROLES:
        raise UsageError(f"unknown role {role!r}", hint=f"one of {', '.join(_ROLES)}")
    secret = secret_file or data / "secret"
    allowed = authority(no_auth=no_auth, host=host, jwks_url=jwks_url, secret_file=secret)
    token = service_token("QMTL_DAGM_TOKEN", allowed, DAG_MANAGER_AUDIENCE, "gateway", (SUBMIT, READ))
    access = Access(token=token, ca=tls_ca, certificate=tls_cert, key=tls_key)
    urls = Urls.in_folder(data, strategies=postgres_dsn, queue=redis_dsn)
    settings = Settings(sentinels=sentinels, lease_s=lease, workers=0 if role == "api" else workers)
    run(lambda: _gateway(urls, allowed, settings, (host, port), dagm_target, access))
    say("stopped")


async def _gateway(
    urls: Urls, allowed: Authority, settings: Settings, place: tuple[str, int], target: str, access: Access
) -> None:
    from contextlib import AsyncExitStack

    from qmtl.backends.dag_manager import RemoteDagManager
    from qmtl.cli import wiring
    from qmtl.cli.serving import bound, served, until_stopped, url_of
    from qmtl.gateway.app import application
    from qmtl.telemetry.metrics import Metrics

    listening = bound(*place)
    async with AsyncExitStack() as stack:
        manager = RemoteDagManager(target, access)
        stack.push_async_callback(manager.close)
        opened = await stack.enter_async_context(wiring.gateway(urls, manager, allowed, Metrics(), settings))
        await stack.enter_async_context(served(application(opened), listening))
        url = url_of(listening)
        wiring.leave_tokens(allowed, url)
        print(url, flush=True)
        await until_stopped(watched=opened.ended)
