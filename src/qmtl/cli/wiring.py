"""Puts Gateway and DAG manager together from URLs: the only place that knows all rooms."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.errors import QmtlError, UsageError
from qmtl.telemetry.logs import logger
from qmtl.wire.events import Event

if TYPE_CHECKING:
    from qmtl.dagmanager.service import Service
    from qmtl.gateway.parts import Settings
    from qmtl.gateway.state import Gateway
    from qmtl.ports.dag_manager import DagManager
    from qmtl.telemetry.metrics import Metrics
    from qmtl.wire.auth import Authority

_PAUSE_S = 1.0
_TOKEN_S = 300.0
_log = logger("cli")

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class Urls:
    """Where each part keeps its things."""

    graph: str
    broker: str
    archive: str
    strategies: str
    queue: str

    @classmethod
    def in_folder(cls, folder: Path, **given: str | None) -> Urls:
        """Return embedded stores in a folder, but for those that are given."""
        place = folder.absolute()
        embedded = {
            "graph": f"sqlite:///{place}/graph.db",
            "broker": f"sqlite:///{place}/broker.db",
            "archive": f"file:///{place}/archive",
            "strategies": f"sqlite:///{place}/strategies.db",
            "queue": f"sqlite:///{place}/queue.db",
        }
        return cls(**(embedded | {name: url for name, url in given.items() if url}))


@asynccontextmanager
async def dag_manager(
    urls: Urls, metrics: Metrics, notify: Callable[[Event], Awaitable[None]], session_timeout_s: float = 5.0
) -> AsyncIterator[Service]:
    """Open a DAG manager; it finishes what a crash left half-done."""
    from qmtl.backends.connect import open_blobs, open_broker, open_graph
    from qmtl.dagmanager.attendance import Rules
    from qmtl.dagmanager.service import Parts, Service

    async with AsyncExitStack() as stack:
        graph = await open_graph(urls.graph)
        stack.push_async_callback(graph.close)
        broker = await open_broker(urls.broker)
        stack.push_async_callback(broker.close)
        blobs = await open_blobs(urls.archive)
        rules = Rules(session_timeout_s, urls.broker)
        service = Service(Parts(graph, graph, broker, blobs, metrics, time.time, notify, rules=rules))
        watching = asyncio.create_task(service.watch())
        try:
            yield service
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@asynccontextmanager
async def gateway(
    urls: Urls, manager: DagManager, authority: Authority, metrics: Metrics, settings: Settings
) -> AsyncIterator[Gateway]:
    """Open a Gateway's stores; the application runs its loops."""
    from qmtl.backends.connect import open_bus, open_locks, open_queue, open_strategies
    from qmtl.gateway.parts import Parts
    from qmtl.gateway.state import Gateway

    async with AsyncExitStack() as stack:

        async def kept(opening: Awaitable[Any]) -> Any:
            opened = await opening
            stack.push_async_callback(opened.close)
            return opened

        parts = Parts(
            strategies=await kept(open_strategies(urls.strategies)),
            queue=await kept(open_queue(urls.queue)),
            locks=await kept(open_locks(_beside(urls.queue, "locks"))),
            bus=await kept(open_bus(_beside(urls.queue, "events"))),
            dag_manager=manager,
            authority=authority,
            metrics=metrics,
            now=time.time,
        )
        yield Gateway(parts, settings)


def _beside(url: str, name: str) -> str:
    """Return the URL of another file beside an embedded one; a server holds them all."""
    return url.replace("queue.db", f"{name}.db") if url.startswith("sqlite") else url


def authority(*, no_auth: bool, host: str, jwks_url: str | None, secret_file: Path) -> Authority:
    """Return who verifies tokens: a key set, or a shared secret that is made at first.

    Raises
    ------
    UsageError
        Without authentication beyond loopback.
    """
    from qmtl.wire.auth import Anybody, KeySet, Shared

    if no_auth:
        if host not in _LOOPBACK:
            raise UsageError(f"--no-auth on {host} would let anybody in", hint="bind to 127.0.0.1, or leave it out")
        return Anybody()
    if jwks_url:
        return KeySet(jwks_url)
    return Shared(shared_secret(secret_file))


def shared_secret(file: Path) -> str:
    """Return the secret of ``QMTL_SECRET`` or of a file, which is made at first, readable by its owner only."""
    from qmtl.wire.auth import new_secret

    if given := os.environ.get("QMTL_SECRET"):
        return given
    try:
        if not file.exists():
            beside = file.with_name(f".{file.name}.{os.getpid()}")
            write_private(beside, new_secret())
            with contextlib.suppress(FileExistsError):  # another service of this folder was first
                os.link(beside, file)
            beside.unlink()
        return file.read_text().strip()
    except OSError as error:
        raise UsageError(f"cannot keep a secret in {file}: {error.strerror}", hint="give another --data") from error


def for_dag_manager(allowed: Authority) -> Authority:
    """Return who verifies tokens for the DAG manager: the same keys, another audience."""
    from qmtl.wire.auth import DAG_MANAGER_AUDIENCE

    return allowed.for_audience(DAG_MANAGER_AUDIENCE)


def service_token(
    variable: str, allowed: Authority, audience: str, name: str, scopes: Sequence[str]
) -> Callable[[], str | None]:
    """Return what gives a service its token for another: an environment variable, or one minted as it is needed."""
    from qmtl.wire.auth import Shared

    if given := os.environ.get(variable):
        return lambda: given
    if not isinstance(allowed, Shared):
        return lambda: None
    minting = allowed.for_audience(audience)
    return lambda: minting.mint(name, scopes, lifetime_s=_TOKEN_S)


def notification(
    gateway_url: str | None, allowed: Authority
) -> tuple[Callable[[Event], Awaitable[None]], Callable[[], Awaitable[None]] | None]:
    """Return how a DAG manager tells a Gateway, and the loop that delivers; without a URL nobody is told."""
    from qmtl.dagmanager.notifier import Notifier
    from qmtl.wire.auth import AUDIENCE, CALLBACK
    from qmtl.wire.client import GatewayClient

    if gateway_url is None:
        return _nobody, None
    token = service_token("QMTL_GATEWAY_TOKEN", allowed, AUDIENCE, "dagmanager", (CALLBACK,))
    notifier = Notifier(lambda: GatewayClient(gateway_url, token() or ""))
    return notifier.tell, notifier.run


async def _nobody(told: Event) -> None:
    """Tell nobody."""
    _log.debug("no Gateway is configured", told=told.type)


async def resumed(manager: Service) -> None:
    """Finish what a crash left half-done, as soon as the stores answer."""
    while True:
        try:
            await manager.resume()
        except QmtlError as error:
            _log.warning("resuming waits", why=error.message)
            await asyncio.sleep(_PAUSE_S)
        else:
            return


def leave_tokens(allowed: Authority, *urls: str) -> None:
    """Leave tokens where commands of this account find them; a home that cannot be written is no reason to fail."""
    from qmtl.wire.auth import Shared
    from qmtl.wire.client import token_file

    if isinstance(allowed, Shared):
        with contextlib.suppress(OSError):
            for url in urls:
                write_private(token_file(url), allowed.mint("local"))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:  # noqa: PTH123  (with a mode)
        opened.write(text + "\n")
