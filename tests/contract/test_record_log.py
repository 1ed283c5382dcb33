"""The embedded log and Kafka keep the promises of records, through crashes of writers and servers."""

from __future__ import annotations

import pytest

from qmtl.backends import connect
from qmtl.testing.contracts.record_log import RecordLogContract
from stack.opened import closed

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(request, tmp_path, shared_server):
    """URL of a log: a file of the test's own, or the server that all share."""
    return f"sqlite:///{tmp_path}/records.db" if request.param == "sqlite" else shared_server(request.param).url


@pytest.mark.parametrize("url", ["sqlite", "kafka"], indirect=True)
class TestRecordLog(RecordLogContract):
    @pytest.fixture(autouse=True)
    def _connect(self, url):
        self.connect = lambda: connect.open_log(url)

    @pytest.fixture
    async def part(self, url):
        async with closed(connect.open_log(url)) as part:
            yield part

    @pytest.fixture
    async def broker(self, url):
        async with closed(connect.open_broker(url)) as broker:
            yield broker
