"""Every backend keeps the promises of its port: the embedded ones and the real servers run the same suites."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager

import psycopg
import pytest
import redis

from qmtl.backends import connect
from qmtl.testing.contracts.blob_store import BlobStoreContract
from qmtl.testing.contracts.broker import BrokerContract
from qmtl.testing.contracts.event_bus import EventBusContract
from qmtl.testing.contracts.graph_store import GraphStoreContract
from qmtl.testing.contracts.locks import LocksContract
from qmtl.testing.contracts.strategy_store import StrategyStoreContract
from qmtl.testing.contracts.work_queue import WorkQueueContract

pytestmark = pytest.mark.anyio
_numbers = itertools.count()


@pytest.fixture
def url(request, tmp_path, shared_server):
    """URL of an empty place: a file, or a server from which the last test's things were removed."""
    name = request.param
    if name == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server = shared_server(name)
    if name == "redis":
        redis.Redis.from_url(server.url).flushall()
    elif name == "postgres":
        database = f"contract_{next(_numbers)}"
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {database}")
        return server.url.removesuffix("/postgres") + f"/{database}"
    elif name == "neo4j":
        import neo4j

        with neo4j.GraphDatabase.driver(server.url) as driver:
            driver.execute_query("MATCH (n) DETACH DELETE n")
    return server.url


def backends(*names):
    return pytest.mark.parametrize("url", names, indirect=True)


@asynccontextmanager
async def closed(opening):
    part = await opening
    try:
        yield part
    finally:
        await part.close()


@backends("sqlite", "redis")
class TestWorkQueue(WorkQueueContract):
    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_queue(url)) as part:
            yield part


@backends("sqlite", "redis")
class TestLocks(LocksContract):
    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_locks(url)) as part:
            yield part


@backends("sqlite", "redis")
class TestEventBus(EventBusContract):
    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_bus(url)) as part:
            yield part


@backends("sqlite", "postgres")
class TestStrategyStore(StrategyStoreContract):
    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_strategies(url)) as part:
            yield part


@backends("sqlite", "neo4j")
class TestGraphStore(GraphStoreContract):
    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_graph(url)) as part:
            yield part


@backends("sqlite", "kafka")
class TestBroker(BrokerContract):
    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_broker(url)) as part:
            yield part


class TestBlobStore(BlobStoreContract):
    @pytest.fixture
    async def part(self, tmp_path):
        async with closed(connect.open_blobs(f"file:///{tmp_path}/archive")) as part:
            yield part
