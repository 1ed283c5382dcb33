"""Opens a port by URL. Drivers are extras: a missing one says what to install."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qmtl.errors import MissingExtraError, unknown_name

if TYPE_CHECKING:
    from qmtl.ports.blob_store import BlobStore
    from qmtl.ports.broker import Broker
    from qmtl.ports.event_bus import EventBus
    from qmtl.ports.locks import Locks
    from qmtl.ports.record_log import RecordLog
    from qmtl.ports.strategy_store import StrategyStore
    from qmtl.ports.version_store import VersionedGraph
    from qmtl.ports.work_queue import WorkQueue

#: port: scheme: (module, class, extra)
_KNOWN = {
    "graph": {
        "sqlite": ("embedded.graph_store", "SqliteGraph", ""),
        "neo4j": ("neo4j", "Neo4jGraph", "neo4j"),
        "bolt": ("neo4j", "Neo4jGraph", "neo4j"),
    },
    "strategies": {
        "sqlite": ("embedded.strategy_store", "SqliteStrategies", ""),
        "postgresql": ("postgres", "PostgresStrategies", "postgres"),
        "postgres": ("postgres", "PostgresStrategies", "postgres"),
    },
    "queue": {"sqlite": ("embedded.work_queue", "SqliteQueue", ""), "redis": ("redis", "RedisQueue", "redis")},
    "locks": {"sqlite": ("embedded.locks", "SqliteLocks", ""), "redis": ("redis", "RedisLocks", "redis")},
    "events": {"sqlite": ("embedded.event_bus", "SqliteBus", ""), "redis": ("redis", "RedisBus", "redis")},
    "broker": {"sqlite": ("embedded.broker", "SqliteBroker", ""), "kafka": ("kafka", "KafkaBroker", "kafka")},
    "log": {"sqlite": ("embedded.record_log", "SqliteLog", ""), "kafka": ("kafka_log", "KafkaLog", "kafka")},
    "archive": {"file": ("embedded.blob_store", "FolderBlobs", "")},
}
_ALIASES = {"rediss": "redis", "neo4j+s": "neo4j", "bolt+s": "bolt"}


async def open_graph(url: str) -> VersionedGraph:
    """Open the global graph; it keeps the versions too.

    Raises
    ------
    MissingExtraError
        The driver is not installed.
    UnknownNameError
        A scheme that nothing here speaks.
    UnavailableError
        Nobody answers.
    """
    return await _open("graph", url)  # type: ignore[no-any-return]


async def open_strategies(url: str) -> StrategyStore:
    """Open the strategy store; errors are those of :func:`open_graph`."""
    return await _open("strategies", url)  # type: ignore[no-any-return]


async def open_queue(url: str, now: Callable[[], float] = time.time) -> WorkQueue:
    """Open the work queue; errors are those of :func:`open_graph`."""
    return await _open("queue", url, now)  # type: ignore[no-any-return]


async def open_locks(url: str, now: Callable[[], float] = time.time) -> Locks:
    """Open the locks; errors are those of :func:`open_graph`."""
    return await _open("locks", url, now)  # type: ignore[no-any-return]


async def open_bus(url: str) -> EventBus:
    """Open the bus of control events; errors are those of :func:`open_graph`."""
    return await _open("events", url)  # type: ignore[no-any-return]


async def open_broker(url: str) -> Broker:
    """Open the administration of a broker; errors are those of :func:`open_graph`."""
    return await _open("broker", url)  # type: ignore[no-any-return]


async def open_log(url: str) -> RecordLog:
    """Open the records of a broker, at the URL of its administration; errors are those of :func:`open_graph`."""
    return await _open("log", url)  # type: ignore[no-any-return]


async def open_blobs(url: str) -> BlobStore:
    """Open an archive; errors are those of :func:`open_graph`."""
    return await _open("archive", url)  # type: ignore[no-any-return]


async def _open(port: str, url: str, *more: Any) -> Any:
    scheme = urlsplit(url).scheme
    scheme = _ALIASES.get(scheme, scheme)
    if scheme not in _KNOWN[port]:
        raise unknown_name(f"scheme of the {port} URL", scheme or url, _KNOWN[port])
    module, name, extra = _KNOWN[port][scheme]
    try:
        kind = getattr(importlib.import_module(f"qmtl.backends.{module}"), name)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("qmtl"):
            raise
        hint = f"uv pip install 'qmtl[{extra}]'"
        raise MissingExtraError(f"{scheme}:// needs {error.name}, which is not installed", hint=hint) from error
    if not extra:
        return kind(_path(url), *more)
    return await kind.open(url)


def _path(url: str) -> Path:
    """Return the file of ``sqlite:///relative``, ``sqlite:////absolute`` or ``file:…`` URLs."""
    rest = url.partition("://")[2]
    return Path(rest.removeprefix("/"))
