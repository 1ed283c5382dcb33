"""The embedded log and Kafka keep the promises of records, through crashes of writers and servers."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from msgspec.structs import replace

from qmtl.backends import connect
from qmtl.errors import WriteError
from qmtl.testing.contracts.record_log import RecordLogContract, collect, minute
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


async def test_kafka_tells_other_programs_what_a_message_is_and_passes_over_theirs(shared_server):
    server, trace = shared_server("kafka"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    producer = Producer({"bootstrap.servers": server.address})
    url = f"{server.url}?client.id=somebody"
    async with closed(connect.open_broker(url)) as broker, closed(connect.open_log(url)) as log:
        [topic] = await RecordLogContract().made(broker, 1)
        batch = replace(minute(4, epoch=3, count=2), revision=1, trace=trace)
        await log.append([(topic, minute(0))])
        producer.produce(topic, b"no batch", partition=0)
        producer.flush(10)
        await log.append([(topic, batch)])
        assert [entry.batch for entry in await collect(log, topic, 2)] == [minute(0), batch]
        consumer = Consumer({"bootstrap.servers": server.address, "group.id": "test"})
        consumer.assign([TopicPartition(topic, 0, 2)])
        message = consumer.poll(20)
        consumer.close()
    assert message.key() == b"ab"
    assert {name: text.decode() for name, text in message.headers()} == {
        "bucket": "300",
        "epoch": "3",
        "revision": "1",
        "schema": "value",
        "traceparent": trace,
    }


async def test_a_batch_that_no_message_can_hold_is_refused_with_a_remedy(shared_server):
    async with closed(connect.open_log(shared_server("kafka").url)) as log:
        with pytest.raises(WriteError, match="more than") as told:
            await log.append([("t", replace(minute(0), payloads=(bytes(17 * 2**20),)))])
    assert told.value.hint
