"""Servers that tests share: started once, on first use. In CI a missing one fails, elsewhere it skips."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import neo4j
import pandas as pd
import psycopg
import pytest
import redis
from confluent_kafka.admin import AdminClient

from stack.process import MissingServerError, Server
from stack.programs import World
from stack.servers import Kafka, Neo4j, Postgres, Redis

KINDS = {kind.name: kind for kind in (Kafka, Neo4j, Postgres, Redis)}


def make(name: str, advertised_port: int = 0) -> Server:
    """Return a server that is not started yet."""
    try:
        return KINDS[name](advertised_port)
    except MissingServerError as missing:
        if os.environ.get("QMTL_REQUIRE_REAL"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Callable[[str], Server]]:
    """Return a server that many tests use; nobody crashes it."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = make(name)
            running[name].start()
        return running[name]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or nobody would stop them
    yield get
    for server in running.values():
        server.close()


@pytest.fixture
def own_server() -> Iterator[Callable[[str], Server]]:
    """Return a server of a test's own, to crash and freeze."""
    made: list[Server] = []

    def get(name: str, advertised_port: int = 0) -> Server:
        server = make(name, advertised_port)
        made.append(server)
        server.start()
        return server

    yield get
    for server in made:
        server.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutines run on asyncio."""
    return "asyncio"


@pytest.fixture
def first_bars(real_data: Callable[[str], Path], tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that makes a file with so many minutes."""

    def get(count: int) -> Path:
        made = tmp_path / "bars.parquet"
        pd.read_parquet(real_data("BTC-PERP-1m.parquet")).head(count).to_parquet(made)
        return made

    return get


@contextmanager
def emptied(kind: str, folder: Path, shared_server: Callable[[str], Server]) -> Iterator[World]:
    """Gateway and DAG manager on empty stores, started; servers are shared, so there is one such world at a time."""
    servers = {name: shared_server(name) for name in (KINDS if kind == "real" else ())}
    for name, server in servers.items():
        EMPTY[name](server)
    made = World(kind, folder, servers)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(params=["embedded", "real"])
def world(request: pytest.FixtureRequest, tmp_path: Path, shared_server: Callable[[str], Server]) -> Iterator[World]:
    """Return Gateway and DAG manager on empty stores, started."""
    with emptied(request.param, tmp_path / "data", shared_server) as made:
        yield made


@pytest.fixture
def own_world(tmp_path: Path, own_server: Callable[[str], Server]) -> Iterator[Callable[[str], World]]:
    """Return a function that makes a world with servers of its own, to crash and freeze."""
    made: list[World] = []

    def get(kind: str, session_timeout_s: float | None = None, kafka_port: int = 0) -> World:
        ports = {"kafka": kafka_port}  # of a proxy in front of it
        servers = {name: own_server(name, ports.get(name, 0)) for name in KINDS} if kind == "real" else {}
        made.append(World(kind, tmp_path / "data", servers, session_timeout_s))
        made[0].start()
        return made[0]

    yield get
    for one in made:
        one.close()


def _redis_emptied(server: Server) -> None:
    redis.Redis.from_url(server.url).flushall()


def _postgres_emptied(server: Server) -> None:
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS strategies, events")


def _neo4j_emptied(server: Server) -> None:
    with neo4j.GraphDatabase.driver(server.url) as driver:
        driver.execute_query("MATCH (n) DETACH DELETE n")


def _kafka_emptied(server: Server) -> None:
    admin = AdminClient({"bootstrap.servers": server.address})
    left = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
    for gone in admin.delete_topics(left).values() if left else ():
        gone.result(timeout=10)


#: Removes what the last test left in a server that is shared.
EMPTY = {"redis": _redis_emptied, "postgres": _postgres_emptied, "neo4j": _neo4j_emptied, "kafka": _kafka_emptied}
