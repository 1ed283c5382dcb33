"""The promises of :class:`qmtl.ports.record_log.RecordLog`."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from qmtl.errors import UnavailableError
from qmtl.ports.broker import Broker, TopicSpec
from qmtl.ports.record_log import Entry, RecordLog
from qmtl.testing.contracts.broker import fresh
from qmtl.wire.records import Batch

#: What was appended is found within this time, also by a reader that begins, in seconds.
_FOUND_S = 20.0
_MINUTE = 60


def minute(k: int, *, epoch: int = 1, node: str = "ab", count: int = 1) -> Batch:
    """Return a batch of minutes from the k-th on, each with its own number as value."""
    numbers = range(k, k + count)
    buckets = struct.pack(f"<{count}q", *(_MINUTE * one for one in numbers))
    values = struct.pack(f"<{count}d", *map(float, numbers))
    return Batch(node, epoch, _MINUTE * (k + count), ("value",), 1, buckets, values)


async def collect(log: RecordLog, topic: str, count: int, position: int = 0, limit: int = 100) -> list[Entry]:
    """Read a topic from a position on until there are so many entries."""
    found: list[Entry] = []
    async with asyncio.timeout(_FOUND_S):
        while len(found) < count:
            came = (await log.read({topic: position}, limit, 1.0)).get(topic, [])
            found += came
            position = found[-1].next if found else position
    return found


async def appended(log: RecordLog, topic: str, batches: Sequence[Batch], size: int = 1) -> None:
    """Append batches in order, so many at once."""
    for k in range(0, len(batches), size):
        assert await log.append([(topic, batch) for batch in batches[k : k + size]]) == set()


class RecordLogContract:
    """Checks a log; ``connect`` opens it once more, as another process would, and ``broker`` has its topics."""

    connect: Callable[[], Awaitable[RecordLog]]

    @asynccontextmanager
    async def others(self, count: int) -> AsyncIterator[list[RecordLog]]:
        """Open more connections."""
        async with AsyncExitStack() as stack:
            logs = [await self.connect() for _ in range(count)]
            for log in logs:
                stack.push_async_callback(log.close)
            yield logs

    @pytest.fixture
    async def topic(self, broker: Broker) -> str:
        """Return a topic that is there and empty."""
        return (await self.made(broker, 1))[0]

    async def made(self, broker: Broker, count: int) -> list[str]:
        """Make topics and wait until they can be used."""
        names = [fresh() for _ in range(count)]
        assert await broker.create([TopicSpec(name, 1, 1, 86_400_000) for name in names]) == {}
        async with asyncio.timeout(_FOUND_S):
            while len(await broker.exist(names)) < count:  # noqa: ASYNC110  (another process makes them)
                await asyncio.sleep(0.02)
        return names

    # ------------------------------------------------------------------------------- order

    async def test_a_batch_comes_back_as_it_was(self, part: RecordLog, topic: str) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        frames = Batch("ab", 3, 240, ("a", "ц"), 2, struct.pack("<2q", 60, 180), payloads=(b"\0" * 2**21, b"ARROW1"))
        batches = [
            Batch("ab", 2),
            minute(0, epoch=2, count=1024),
            Batch("ab", 2, 70_000),
            frames,
            Batch(
                "ab", 3, 300, ("value",), 1, struct.pack("<q", 60), struct.pack("<d", 2.5), (), 4, trace, "it raised"
            ),
        ]
        await appended(part, topic, batches, size=5)
        assert [entry.batch for entry in await collect(part, topic, 5)] == batches

    async def test_every_reader_sees_the_one_order_of_many_writers(self, part: RecordLog, topic: str) -> None:
        async with self.others(4) as logs:
            work = [
                appended(log, topic, [minute(k, node=str(w)) for k in range(50)], size=w + 1)
                for w, log in enumerate(logs)
            ]
            one, *_ = await asyncio.gather(collect(part, topic, 200), *work)
            other = await collect(logs[0], topic, 200, limit=7)
        assert one == other
        for w in range(4):
            mine = [entry.batch for entry in one if entry.batch.node_id == str(w)]
            assert mine == [minute(k, node=str(w)) for k in range(50)]

    async def test_positions_grow_and_reading_goes_on_behind_them(self, part: RecordLog, topic: str) -> None:
        await appended(part, topic, [minute(k) for k in range(10)], size=10)
        found = await collect(part, topic, 10)
        positions = [entry.next for entry in found]
        assert positions == sorted({*positions})
        assert positions[0] > 0
        for k in (7, 2, 5):  # backwards too
            assert await collect(part, topic, 9 - k, positions[k]) == found[k + 1 :]

    async def test_a_reader_that_begins_amid_writing_misses_and_doubles_nothing(
        self, part: RecordLog, topic: str
    ) -> None:
        async with self.others(2) as (writer, late):
            writing = asyncio.create_task(appended(writer, topic, [minute(k) for k in range(300)]))
            await collect(part, topic, 100)
            found = await collect(late, topic, 300, limit=9)
            await writing
        assert [entry.batch for entry in found] == [minute(k) for k in range(300)]

    # ----------------------------------------------------------------------------- reading

    async def test_a_waiting_reader_is_woken_at_once(self, part: RecordLog, topic: str) -> None:
        async with self.others(1) as (writer,):
            await appended(writer, topic, [minute(0)])
            position, waits = (await collect(part, topic, 1))[-1].next, []
            for k in range(1, 40):
                reading = asyncio.create_task(part.read({topic: position}, 10, 10.0))
                await asyncio.sleep(0.01)
                began = time.monotonic()
                await appended(writer, topic, [minute(k)])
                position = (await reading)[topic][-1].next
                waits.append(time.monotonic() - began)
        assert sorted(waits)[len(waits) // 2] < 0.02

    async def test_waiting_ends(self, part: RecordLog, topic: str) -> None:
        began = time.monotonic()
        assert await part.read({topic: 0}, 10, 0.05) == {}
        assert await part.read({topic: 0}, 10, 0.0) == {}
        assert await part.read({}, 10, 0.0) == {}
        assert time.monotonic() - began < 2.0

    async def test_a_read_that_was_given_up_loses_nothing(self, part: RecordLog, topic: str) -> None:
        async with self.others(1) as (writer,):
            position, got = 0, 0
            writing = asyncio.create_task(appended(writer, topic, [minute(k) for k in range(100)]))
            while got < 100:
                reading = asyncio.create_task(part.read({topic: position}, 3, 5.0))
                await asyncio.wait([reading], timeout=0.003)
                if not reading.done():
                    reading.cancel()
                    await asyncio.wait([reading])
                if not reading.cancelled():
                    for entry in reading.result().get(topic, []):
                        assert entry.batch == minute(got)
                        position, got = entry.next, got + 1
                elif writing.done():
                    for entry in await collect(part, topic, 100 - got, position):
                        assert entry.batch == minute(got)
                        got += 1
            await writing

    async def test_limits_bound_all_topics_together_and_pass_none_over(self, part: RecordLog, broker: Broker) -> None:
        topics = await self.made(broker, 3)
        await part.append([(topic, minute(k)) for topic in topics for k in range(20)])
        positions = dict.fromkeys(topics, 0)
        found: dict[str, list[Batch]] = {topic: [] for topic in topics}
        async with asyncio.timeout(_FOUND_S):
            while sum(map(len, found.values())) < 60:
                came = await part.read(positions, 4, 1.0)
                assert sum(map(len, came.values())) <= 4
                positions |= {topic: entries[-1].next for topic, entries in came.items()}
                for topic, entries in came.items():
                    found[topic] += [entry.batch for entry in entries]
        assert found == {topic: [minute(k) for k in range(20)] for topic in topics}

    async def test_topics_come_and_go_between_reads(self, part: RecordLog, broker: Broker) -> None:
        one, two = await self.made(broker, 2)
        await part.append([(one, minute(0)), (two, minute(7))])
        first = (await collect(part, one, 1))[-1].next
        async with asyncio.timeout(_FOUND_S):
            while not (came := await part.read({one: first, two: 0}, 10, 1.0)):
                continue
        assert {topic: [entry.batch for entry in entries] for topic, entries in came.items()} == {two: [minute(7)]}
        await part.append([(one, minute(1)), (two, minute(8))])
        assert [entry.batch for entry in await collect(part, one, 1, first)] == [minute(1)]
        assert [entry.batch for entry in await collect(part, two, 2)] == [minute(7), minute(8)]

    # -------------------------------------------------------------------------------- seek

    async def test_replay_begins_at_a_bucket(self, part: RecordLog, topic: str) -> None:
        await appended(part, topic, [Batch("ab", 1), *(minute(4 * k, count=4) for k in range(50))], size=51)
        async with self.others(1) as (other,):
            for log in (part, other):
                for k in (0, 1, 3, 4, 101, 199):
                    position = (await log.seek({topic: k * _MINUTE}))[topic]
                    end = (await log.ends([topic]))[topic]
                    buckets = await self.buckets_from(log, topic, position, end)
                    assert k * _MINUTE in buckets
                    assert sum(bucket < k * _MINUTE for bucket in buckets) <= 8

    async def test_what_is_out_of_order_hides_no_bucket(self, part: RecordLog, topic: str) -> None:
        """Repairs, and the late records of a producer that was replaced."""
        numbers = [0, 1, 2, 9, 1, 3, 2, 4, 10, 5, 11, 3]
        await appended(part, topic, [minute(k) for k in numbers], size=12)
        end = (await part.ends([topic]))[topic]
        for k in range(12):
            position = (await part.seek({topic: k * _MINUTE}))[topic]
            first = next(i for i, number in enumerate(numbers) if number >= k)
            buckets = await self.buckets_from(part, topic, position, end)
            assert buckets[-(12 - first) :] == [_MINUTE * number for number in numbers[first:]]

    async def test_the_end_is_where_no_such_bucket_is(self, part: RecordLog, broker: Broker) -> None:
        topic, empty = await self.made(broker, 2)
        await appended(part, topic, [minute(0), minute(1)])
        ends = await part.ends([topic, empty])
        assert ends == {topic: (await collect(part, topic, 2))[-1].next, empty: 0}
        assert await part.seek({topic: 2 * _MINUTE, empty: 0}) == ends

    async def buckets_from(self, log: RecordLog, topic: str, position: int, end: int) -> list[int]:
        """Return the buckets of all records from a position to another."""
        found: list[int] = []
        async with asyncio.timeout(_FOUND_S):
            while position < end:
                for entry in (await log.read({topic: position}, 100, 1.0)).get(topic, []):
                    position = entry.next
                    found += struct.unpack(f"<{len(entry.batch)}q", entry.batch.buckets)
        return found

    # ------------------------------------------------------------------------ epochs, topics

    async def test_an_older_epoch_is_refused_or_seen_behind_the_fence(self, part: RecordLog, topic: str) -> None:
        async with self.others(1) as (zombie,):
            await appended(zombie, topic, [minute(0)])
            await appended(part, topic, [Batch("ab", 2), minute(1, epoch=2)])
            refused = await zombie.append([(topic, minute(1))])
            await appended(part, topic, [minute(2, epoch=2)])
        wanted = [minute(0), Batch("ab", 2), minute(1, epoch=2), minute(1), minute(2, epoch=2)]
        if refused:
            assert refused == {topic}
            del wanted[3]
        assert [entry.batch for entry in await collect(part, topic, len(wanted))] == wanted

    async def test_a_topic_that_is_not_there_takes_nothing_and_has_nothing(self, part: RecordLog, topic: str) -> None:
        missing = fresh()
        with pytest.raises(UnavailableError, match=missing) as told:
            await part.append([(topic, minute(0)), (missing, minute(0))])
        assert told.value.dependency == part.role
        assert told.value.hint
        assert await part.read({missing: 0}, 10, 0.05) == {}
        assert await part.ends([missing, topic]) == {missing: 0, topic: 0}
        assert await part.seek({missing: 0}) == {missing: 0}

    async def test_a_topic_may_be_deleted_under_readers_and_writers(self, part: RecordLog, broker: Broker) -> None:
        topic, other = await self.made(broker, 2)
        await appended(part, topic, [minute(0)])
        position = (await collect(part, topic, 1))[-1].next
        await broker.delete([topic])
        assert await part.read({topic: position}, 10, 0.05) == {}
        with pytest.raises(UnavailableError, match=topic):
            await part.append([(topic, minute(1))])
        await appended(part, other, [minute(5)])
        async with asyncio.timeout(_FOUND_S):
            while not (came := await part.read({topic: position, other: 0}, 10, 1.0)):
                continue
        assert [entry.batch for entry in came[other]] == [minute(5)]

    async def test_nothing_is_no_error(self, part: RecordLog) -> None:
        assert await part.append([]) == set()
        assert await part.seek({}) == {}
        assert await part.ends([]) == {}

    async def test_closing_ends_a_read_that_waits_and_may_be_repeated(self, topic: str) -> None:
        log = await self.connect()
        reading = asyncio.create_task(log.read({topic: 0}, 10, 60.0))
        await asyncio.sleep(0.05)
        await log.close()
        await log.close()
        async with asyncio.timeout(5):
            assert await reading == {}

    async def test_it_tells_its_version(self, part: RecordLog) -> None:
        assert await part.check()
        assert part.kind
