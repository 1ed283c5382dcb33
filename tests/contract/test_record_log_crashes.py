"""Records survive what can crash: writers, servers, files."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import pytest

from qmtl.backends import connect
from qmtl.backends.embedded.broker import SqliteBroker
from qmtl.backends.embedded.record_log import SqliteLog
from qmtl.errors import UnavailableError
from qmtl.ports.broker import TopicSpec
from qmtl.testing.contracts.record_log import appended, collect, minute
from stack.opened import closed
from stack.waiting import wait_until
from stack.writing import Writer, first_seen

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0
#: No call may take longer, whatever the server does, in seconds.
BOUND_S = 12.0


@pytest.fixture
def writers(tmp_path):
    started: list[Writer] = []

    def start(url: str, count: int) -> list[Writer]:
        started.extend(Writer(tmp_path, url, "records", str(k)) for k in range(count))
        return started

    yield start
    for writer in started:
        writer.kill9()


async def made(url: str) -> None:
    """Make the topic ``records``."""
    async with closed(connect.open_broker(url)) as broker, asyncio.timeout(30):
        await broker.create([TopicSpec("records", 1, 1, int(DAY_S * 1000))])
        while not await broker.exist(["records"]):
            continue


def number(batch) -> int:
    return batch.span[0] // 60


async def everything(log) -> dict[str, list[int]]:
    """Return the numbers of each writer in the topic, in its order."""
    found: dict[str, list[int]] = {}
    position, end = 0, (await log.ends(["records"]))["records"]
    async with asyncio.timeout(60):
        while position < end:
            for entry in (await log.read({"records": position}, 1000, 1.0)).get("records", []):
                position = entry.next
                found.setdefault(entry.batch.node_id, []).append(number(entry.batch))
    return found


async def progressed(started: list[Writer], more: int, within_s: float = 60.0) -> None:
    """Wait until each writer has so many more acknowledged."""
    wanted = {writer: writer.acknowledged + more for writer in started}
    done = lambda: all(writer.acknowledged >= count for writer, count in wanted.items())  # noqa: E731
    await asyncio.to_thread(wait_until, done, within_s, pause_s=0.01)


@pytest.mark.parametrize("kind", ["sqlite", "kafka"])
async def test_what_killed_writers_were_acknowledged_is_there(kind, tmp_path, own_server, writers):
    url = f"sqlite:///{tmp_path}/records.db" if kind == "sqlite" else own_server("kafka").url
    await made(url)
    async with closed(connect.open_log(url)) as log:
        started = writers(url, 3)
        await progressed(started, 50)
        for writer in random.Random(5).sample(started, 3):
            await progressed([writer], 10)
            writer.kill9()
        found = await everything(log)
        for writer in started:
            assert first_seen(found[writer.name]) >= writer.acknowledged > 0
        await appended(log, "records", [minute(0, node="after")])
        assert (await everything(log))["after"] == [0]


async def test_what_a_killed_kafka_acknowledged_is_there(own_server, writers):
    server = own_server("kafka")
    await made(server.url)
    async with closed(connect.open_log(server.url)) as log:
        started, counts, position = writers(server.url, 2), {"0": [], "1": []}, 0

        async def follow() -> None:
            nonlocal position
            while True:
                try:
                    came = await log.read({"records": position}, 100, 0.5)
                except UnavailableError:
                    continue
                for entry in came.get("records", []):
                    position = entry.next
                    counts[entry.batch.node_id].append(number(entry.batch))

        following = asyncio.create_task(follow())
        for _ in range(3):
            await progressed(started, 100)
            server.kill9()
            await asyncio.to_thread(server.start)
        await progressed(started, 100)
        for writer in started:
            writer.kill9()
        found = await everything_of_another(server.url)
        for writer in started:
            assert first_seen(found[writer.name]) >= writer.acknowledged
        await asyncio.to_thread(wait_until, lambda: counts == found or following.done(), 30.0)
        following.cancel()


async def everything_of_another(url: str) -> dict[str, list[int]]:
    async with closed(connect.open_log(url)) as other:
        return await everything(other)


async def told(call) -> None:
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(UnavailableError) as raised:
            await call()
    assert raised.value.dependency == "log"


async def overcome(call):
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except UnavailableError:
                continue


@pytest.mark.parametrize("fault", ["pause", "kill9"])
async def test_a_kafka_that_does_not_answer_is_told_and_overcome(fault, own_server):
    server = own_server("kafka")
    await made(server.url)
    async with closed(connect.open_log(server.url)) as log:
        await overcome(lambda: log.append([("records", minute(0))]))
        position = (await collect(log, "records", 1))[-1].next
        getattr(server, fault)()
        await asyncio.gather(
            told(lambda: log.append([("records", minute(1)), ("records", minute(2))])),
            told(lambda: log.read({"records": position}, 10, 60.0)),
        )
        await told(lambda: log.ends(["records"]))
        await told(lambda: log.seek({"records": 600}))
        await asyncio.to_thread(server.resume if fault == "pause" else server.start)
        await overcome(lambda: log.append([("records", minute(k)) for k in (1, 2, 3)]))
        numbers = (await everything(log))["ab"]
        assert first_seen(numbers) == 4
        assert [number(entry.batch) for entry in await collect(log, "records", len(numbers) - 1, position)] == numbers[
            1:
        ]


# ------------------------------------------------------------------------------------------ embedded


@pytest.fixture
async def place(tmp_path):
    await made(f"sqlite:///{tmp_path}/records.db")
    return tmp_path / "records.db"


async def test_records_expire_from_the_front(place):
    now = 0.0
    log = SqliteLog(place, now=lambda: now)
    await appended(log, "records", [minute(k) for k in range(500)])
    now = DAY_S + 1.0
    await appended(log, "records", [minute(k) for k in range(500, 1500)])
    left = await collect(log, "records", 1000)
    assert number(left[0].batch) == 500
    assert await log.seek({"records": 0}) == {"records": left[0].next - 1}
    await log.close()


async def test_a_full_disk_is_named_and_nothing_half_written_stays(place):
    log = SqliteLog(place)
    await log._db.outside(lambda db: db.execute("PRAGMA max_page_count = 40").fetchall())
    with pytest.raises(UnavailableError, match="disk is full") as raised:
        await log.append([("records", minute(k, count=1024)) for k in range(100)])
    assert str(place) in str(raised.value)
    assert await log.read({"records": 0}, 10, 0.0) == {}
    await log._db.outside(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchall())
    await appended(log, "records", [minute(0)])
    assert [number(entry.batch) for entry in await collect(log, "records", 1)] == [0]
    await log.close()


async def test_a_damaged_file_is_told(place):
    log = SqliteLog(place)
    await appended(log, "records", [minute(k) for k in range(100)], size=100)
    await log.close()
    content = place.read_bytes()
    place.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(UnavailableError, match="malformed"):
        SqliteLog(place)
    place.write_bytes(b"something else" * 1000)
    with pytest.raises(UnavailableError, match="not a database"):
        SqliteLog(place)


async def test_a_file_that_somebody_else_holds_is_told_and_used_afterwards(place):
    log, other = SqliteLog(place), sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await told(lambda: log.append([("records", minute(0))]))
    assert await log.read({"records": 0}, 10, 0.0) == {}
    other.execute("ROLLBACK")
    other.close()
    await appended(log, "records", [minute(0)])
    await log.close()


async def test_a_topic_that_is_made_again_goes_on_behind_its_old_positions(place):
    broker, log = SqliteBroker(place), SqliteLog(place)
    await appended(log, "records", [minute(0, epoch=7)])
    position = (await collect(log, "records", 1))[-1].next
    await broker.delete(["records"])
    await broker.create([TopicSpec("records", 1, 1, 1000)])
    await appended(log, "records", [minute(1, epoch=1)])
    assert [entry.batch for entry in await collect(log, "records", 1, position)] == [minute(1, epoch=1)]
    await log.close()
    await broker.close()
