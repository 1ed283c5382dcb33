"""Every backend keeps the promises of its port: the embedded ones and the real servers run the same suites."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from qmtl.backends import connect
from qmtl.testing.contracts.blob_store import BlobStoreContract
from qmtl.testing.contracts.broker import BrokerContract
from qmtl.testing.contracts.event_bus import EventBusContract
from qmtl.testing.contracts.graph_store import GraphStoreContract
from qmtl.testing.contracts.locks import LocksContract
from qmtl.testing.contracts.strategy_store import StrategyStoreContract
from qmtl.testing.contracts.work_queue import WorkQueueContract
from stack.fixtures import EMPTY
from stack.opened import closed

pytestmark = pytest.mark.anyio
_numbers = itertools.count()


@pytest.fixture
def url(request, tmp_path, shared_server):
    """URL of an empty place: a file, or a server from which the last test's things were removed."""
    name = request.param
    if name == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    if name == "folder":
        return f"file:///{tmp_path}/archive"
    server = shared_server(name)
    if name == "postgres":
        database = f"contract_{next(_numbers)}"
        with psycopg.connect(server.url, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {database}")
        return server.url.removesuffix("/postgres") + f"/{database}"
    if name in {"redis", "neo4j"}:
        EMPTY[name](server)
    return server.url


def backends(*names):
    return pytest.mark.parametrize("url", names, indirect=True)


class Opened:
    """Gives a suite its part, opened by ``opener`` and closed again."""

    @pytest.fixture
    async def part(self, url):
        async with closed(self.opener(url)) as part:
            yield part


@backends("sqlite", "redis")
class TestWorkQueue(Opened, WorkQueueContract):
    opener = staticmethod(connect.open_queue)


@backends("sqlite", "redis")
class TestLocks(Opened, LocksContract):
    opener = staticmethod(connect.open_locks)


@backends("sqlite", "redis")
class TestEventBus(Opened, EventBusContract):
    opener = staticmethod(connect.open_bus)


@backends("sqlite", "postgres")
class TestStrategyStore(Opened, StrategyStoreContract):
    opener = staticmethod(connect.open_strategies)


@backends("sqlite", "neo4j")
class TestGraphStore(Opened, GraphStoreContract):
    opener = staticmethod(connect.open_graph)


@backends("sqlite", "kafka")
class TestBroker(Opened, BrokerContract):
    opener = staticmethod(connect.open_broker)


@backends("folder")
class TestBlobStore(Opened, BlobStoreContract):
    opener = staticmethod(connect.open_blobs)
