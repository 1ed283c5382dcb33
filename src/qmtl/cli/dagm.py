"""``qmtl dagm`` and ``qmtl-dagm``: the DAG manager as a process of its own, and what it is asked for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qmtl.cli import service_options as options
from qmtl.cli.options import Json, print_json, say
from qmtl.errors import SourceNotFoundError, UnavailableError, UnreachableError

if TYPE_CHECKING:
    from qmtl.backends.dag_manager import RemoteDagManager
    from qmtl.cli.wiring import Urls
    from qmtl.wire.auth import Authority
    from qmtl.wire.messages import DiffAnswer

T = TypeVar("T")

DEFAULT_TARGET = "localhost:50051"
app = typer.Typer(
    help="The DAG manager: recognises nodes, maps them to queues, collects garbage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Target = Annotated[
    str | None, typer.Option("--target", envvar="QMTL_DAGM_TARGET", help=f"host:port; {DEFAULT_TARGET} by default.")
]
DagFile = Annotated[Path, typer.Option("--file", help="A DAG document, as `qmtl graph --json` writes it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]
Version = Annotated[str, typer.Option("--sentinel", help="A version.")]
TagFilter = Annotated[list[str], typer.Option("--tag", help="Only queues with this tag; repeat for any of several.")]
GrpcPort = Annotated[int, typer.Option("--port", envvar="QMTL_GRPC_PORT", min=0, max=65535, help="Port of gRPC.")]
HttpPort = Annotated[
    int,
    typer.Option(
        "--http-port", envvar="QMTL_DAGM_HTTP_PORT", min=0, max=65535, help="Port of callbacks, status and metrics."
    ),
]
Notified = Annotated[
    str | None, typer.Option("--gateway-url", envvar="QMTL_GATEWAY_URL", help="The Gateway that is told what happens.")
]


@app.callback()
def _target(context: typer.Context, target: Target = None) -> None:
    """Exit codes: 0 done, 1 failed, 2 usage, 3 not reachable."""
    context.obj = target


@app.command()
def server(
    graph_url: options.GraphUrl = None,
    broker_url: options.BrokerUrl = None,
    archive_url: options.ArchiveUrl = None,
    port: GrpcPort = 50051,
    http_port: HttpPort = 50052,
    host: options.Host = "127.0.0.1",
    data: options.DataDir = Path("qmtl-data"),
    gateway_url: Notified = None,
    no_auth: options.NoAuth = False,
    jwks_url: options.JwksUrl = None,
    secret_file: options.SecretFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    session_timeout: options.SessionTimeout = 5.0,
    log_level: options.LogLevel = "warning",
) -> None:
    """Run a DAG manager until Ctrl-C; the first line on stdout is its address, and then it is ready."""
    from qmtl.cli.serving import Tls, run
    from qmtl.cli.wiring import Urls, authority
    from qmtl.telemetry.logs import configure

    configure(log_level)
    urls = Urls.in_folder(data, graph=graph_url, broker=broker_url, archive=archive_url)
    secret = secret_file or data / "secret"
    allowed = authority(no_auth=no_auth, host=host, jwks_url=jwks_url, secret_file=secret)
    tls = Tls.of(tls_ca, tls_cert, tls_key)
    run(lambda: _server(urls, allowed, tls, host, (port, http_port), gateway_url, session_timeout))
    say("stopped")


async def _server(
    urls: Urls,
    allowed: Authority,
    tls: Any,
    host: str,
    ports: tuple[int, int],
    gateway_url: str | None,
    session_timeout_s: float,
) -> None:
    from contextlib import AsyncExitStack

    from qmtl.cli import wiring
    from qmtl.cli.serving import bound, grpc_served, served, until_stopped, url_of
    from qmtl.dagmanager.app import application
    from qmtl.telemetry.metrics import Metrics

    metrics, listening = Metrics(), bound(host, ports[1])
    async with AsyncExitStack() as stack:
        tell, telling = wiring.notification(gateway_url, allowed)
        manager = await stack.enter_async_context(wiring.dag_manager(urls, metrics, tell, session_timeout_s))
        reached = wiring.for_dag_manager(allowed)
        resuming = asyncio.create_task(wiring.resumed(manager))
        stack.callback(resuming.cancel)
        address = await stack.enter_async_context(grpc_served(manager, reached, metrics, f"{host}:{ports[0]}", tls))
        await stack.enter_async_context(served(application(manager, reached, metrics), listening))
        wiring.leave_tokens(reached, f"grpc://{address}", url_of(listening))
        print(address, flush=True)
        print(url_of(listening), flush=True)
        await until_stopped(watched=telling)


@app.command()
def diff(
    context: typer.Context, file: DagFile, target: Target = None, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Map a DAG document to queues: which nodes are new, which the world has already."""
    from qmtl.wire.messages import DiffRequest

    dag = _read(file)
    identifier = f"cli-{uuid.uuid4().hex}"

    async def ask(manager: RemoteDagManager) -> DiffAnswer:
        answer = await manager.diff(DiffRequest(identifier, "dry-run", dag, "cli", dry_run=dry_run))
        if not dry_run:
            await manager.release(identifier)  # the queues are there, and nobody uses them yet
        return answer

    answer = _asked(context, target, ask)
    if as_json:
        counts = {"new": answer.new, "reused": answer.reused, "buffering": answer.buffering}
        print_json({"queue_map": answer.queue_map, "actions": answer.actions, **counts, "crc": answer.crc})
        return
    for node_id, topic in answer.queue_map.items():
        print(f"{node_id[:12]}  {answer.actions[node_id]:<8} {topic}")
    told = "; nothing was changed" if dry_run else ""
    print(f"{answer.new} new, {answer.reused} reused, {answer.buffering} buffering{told}")


@app.command("queue-stats")
def queue_stats(
    context: typer.Context,
    tag: TagFilter = [],  # noqa: B006  (typer copies it)
    interval: Annotated[str | None, typer.Option("--interval", help="Such as 1m, or seconds.")] = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Show queues with what the broker says of their topics."""
    import msgspec

    from qmtl.interval import read_interval
    from qmtl.wire.messages import QueueQuery

    seconds = None if interval is None else read_interval(interval)
    found = _asked(context, target, lambda manager: manager.stats(QueueQuery(tags=tag, interval=seconds)))
    if as_json:
        print_json({"queues": msgspec.to_builtins(found)})
        return
    for one in found:
        state = f"{one.partitions} partitions, {one.records} records" if one.exists else "NO TOPIC"
        print(f"{one.queue.topic:<40} {one.queue.quality:<10} {one.queue.strategies:>3} strategies  {state}")


@app.command()
def gc(
    context: typer.Context,
    sentinel: Annotated[str | None, typer.Option("--sentinel", help="Drop this version instead.")] = None,
    target: Target = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Collect garbage: queues and versions that nothing has used for the time of their class; each with its reason."""
    import msgspec

    from qmtl.wire.messages import CleanupRequest

    found = _asked(context, target, lambda manager: manager.cleanup(CleanupRequest(sentinel, dry_run)))
    if as_json:
        print_json({"removals": msgspec.to_builtins(found)})
        return
    for one in found:
        done = "" if one.action == "keep" else " (done)" if one.done else " (not done)"
        print(f"{one.action:<8} {one.subject:<40} {one.reason}{done}")
    going = sum(one.action != "keep" for one in found)
    print(f"{going} of {len(found)} go{'; nothing was changed' if dry_run else ''}")


@app.command("redo-diff")
def redo_diff(
    context: typer.Context,
    sentinel: Version,
    file: DagFile,
    rollback: Annotated[bool, typer.Option("--rollback", help="Take the version's weight and uses back.")] = False,
    target: Target = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Map a DAG document once more under a version, or take that back."""
    import msgspec

    from qmtl.wire.messages import RedoRequest

    asked = RedoRequest(sentinel, _read(file), rollback=rollback, dry_run=dry_run)
    found = _asked(context, target, lambda manager: manager.redo(asked))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    for node_id, topic in found.queue_map.items():
        print(f"{node_id[:12]}  {found.actions[node_id]:<8} {topic}")
    for topic in found.released:
        print(f"released  {topic}")
    print(f"{sentinel}: {'rolled back' if rollback else 'mapped'}{'; nothing was changed' if dry_run else ''}")


@app.command("export-schema")
def export_schema(
    out: Annotated[Path, typer.Option("--out", help="Where the statements go.")] = Path("schema.cypher"),
) -> None:
    """Write the constraints and indexes of the graph, as Cypher that may run again and again."""
    from qmtl.backends.cypher import SCHEMA

    out.write_text("".join(f"{statement};\n" for statement in SCHEMA))
    print(f"wrote {len(SCHEMA)} statements to {out}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        hint = "`qmtl graph FILE:Class --json` writes one"
        raise SourceNotFoundError(f"cannot read {str(file)!r}: {error.strerror}", hint=hint) from error


def _asked(context: typer.Context, target: str | None, ask: Callable[[RemoteDagManager], Awaitable[T]]) -> T:
    """Ask a DAG manager; nobody there is exit code 3, whatever the call was."""
    chosen = target or context.obj or DEFAULT_TARGET

    async def exchange() -> T:
        from qmtl.backends.dag_manager import Access, RemoteDagManager
        from qmtl.wire.client import find_token

        token = find_token(f"grpc://{chosen}")
        manager = RemoteDagManager(chosen, Access(token=lambda: token, attempts=1))
        try:
            await manager.check()
            return await ask(manager)
        finally:
            await manager.close()

    try:
        return asyncio.run(exchange())
    except UnavailableError as error:
        if error.dependency != "dagmanager":
            raise
        hint = "is it running? `qmtl-dagm server` starts one; --target names another"
        raise UnreachableError(f"no DAG manager answers at {chosen}: {error.message}", hint=hint) from error
