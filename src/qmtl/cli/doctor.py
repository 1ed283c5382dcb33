"""``qmtl doctor``: what is wrong here, and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Any

import typer

from qmtl.cli import service_options as options
from qmtl.cli.options import Json, print_json
from qmtl.errors import QmtlError

_MINUTES = "BTC-PERP-1m.parquet"
_DEADLINE_S = 12.0


def doctor(
    gateway_url: Annotated[
        str | None, typer.Option("--gateway-url", envvar="QMTL_GATEWAY_URL", help="Ask this Gateway and what it needs.")
    ] = None,
    graph_url: options.GraphUrl = None,
    broker_url: options.BrokerUrl = None,
    archive_url: options.ArchiveUrl = None,
    postgres_dsn: options.PostgresDsn = None,
    redis_dsn: options.RedisDsn = None,
    as_json: Json = False,
) -> None:
    """Check the installation, and each configured dependency: whether it answers, its version, how to mend it."""
    urls = {"graph": graph_url, "broker": broker_url, "archive": archive_url}
    urls |= {"strategies": postgres_dsn, "queue": redis_dsn}
    checks = [_checked(name, probe) for name, probe in _PROBES.items()]
    checks += [_checked(port, lambda port=port, url=url: _store(port, url)) for port, url in urls.items() if url]  # type: ignore[misc]
    checks += _gateway(gateway_url) if gateway_url else []
    if as_json:
        print_json({"ok": all(c["ok"] for c in checks), "checks": checks})
    else:
        for entry in checks:
            print(f"{'ok  ' if entry['ok'] else 'FAIL'}  {entry['check']:<10} {entry['found']}")
    if not all(c["ok"] for c in checks):
        raise typer.Exit(1)


def _checked(name: str, probe: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "found": probe()}
    except QmtlError as error:
        return {"check": name, "ok": False, "found": str(error)}
    except Exception as error:  # noqa: BLE001  (a doctor reports whatever is wrong and goes on)
        return {"check": name, "ok": False, "found": f"{type(error).__name__}: {error}"}


def _store(port: str, url: str) -> str:
    from qmtl.backends import connect

    openers: dict[str, Callable[[str], Any]] = {
        "graph": connect.open_graph,
        "broker": connect.open_broker,
        "archive": connect.open_blobs,
        "strategies": connect.open_strategies,
        "queue": connect.open_queue,
    }

    async def asked() -> str:
        opened = await openers[port](url)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return f"{opened.kind} {await opened.check()}"
        finally:
            await opened.close()

    return asyncio.run(asked())


def _gateway(url: str) -> list[dict[str, Any]]:
    from qmtl.wire.client import GatewayClient

    try:
        found = GatewayClient(url).status()
    except QmtlError as error:
        return [{"check": "gateway", "ok": False, "found": str(error)}]
    told = [{"check": "gateway", "ok": True, "found": url}]
    for role, one in found["dependencies"].items():
        about = f"{one['version']}, {one['latency_ms']} ms" if one["ok"] else f"{one['error']}; {_REMEDY}"
        told.append({"check": role, "ok": one["ok"], "found": f"{one['kind']} {about}"})
    return told


_REMEDY = "start it, or check the URL that the Gateway was given"


def _python() -> str:
    import platform
    import sys

    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError(f"Python {platform.python_version()} is not supported: 3.11 to 3.13 are")
    return platform.python_version()


def _packages() -> str:
    from importlib.metadata import version

    names = ("numpy", "numba", "pandas", "pyarrow", "exchange-calendars")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _compiler() -> str:
    from numba import njit

    if njit(lambda x: x + 1)(1) != 2:
        raise RuntimeError("compiled code gives wrong results")
    return "compiles and runs"


def _cache() -> str:
    import tempfile

    from qmtl.engine.codegen import cache_dir

    with tempfile.TemporaryFile(dir=cache_dir()):
        return str(cache_dir())


def _run() -> str:
    from qmtl.cli.demonstration import STRATEGIES
    from qmtl.sdk.runner import Runner

    data = {"price": str(files("qmtl") / "data" / _MINUTES)}
    bars = len(Runner.offline(STRATEGIES[0], data=data, end_time="2022-01-02").outputs["price"])
    return f"{bars:,} bars computed"


_PROBES = {"python": _python, "packages": _packages, "compiler": _compiler, "cache": _cache, "run": _run}
