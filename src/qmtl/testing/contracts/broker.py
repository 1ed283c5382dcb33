"""The promises of :class:`qmtl.ports.broker.Broker`."""

from __future__ import annotations

import asyncio
import uuid

from qmtl.ports.broker import Broker, TopicSpec


def spec(name: str) -> TopicSpec:
    """Return how a topic of the tests is."""
    return TopicSpec(name, partitions=3, replication=1, retention_ms=86_400_000)


def fresh() -> str:
    """Return a name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}_sma_v1"


class BrokerContract:
    """Checks the administration of a broker; names are fresh, so one broker serves many tests."""

    async def test_a_topic_is_created_described_and_deleted(self, part: Broker) -> None:
        name = fresh()
        assert await part.create([spec(name)]) == {}
        await self.appeared(part, name)
        found = (await part.describe([name, fresh()]))[name]
        assert (found.partitions, found.retention_ms, found.records) == (3, 86_400_000, 0)
        assert name in await part.topics()
        await part.delete([name])
        assert await part.exist([name]) == set()
        assert name not in await part.topics()

    async def test_what_is_to_be_kept_longer_is_and_never_shorter(self, part: Broker) -> None:
        name, week = fresh(), 7 * 86_400_000
        await part.create([spec(name)])
        await self.appeared(part, name)
        await part.keep({name: week, fresh(): week})
        await self.kept(part, name, week)
        await part.keep({name: 1000})
        await part.keep({name: week + 1})  # by now, a shorter one would have shown
        await self.kept(part, name, week + 1)

    async def test_creating_again_and_deleting_again_are_no_errors(self, part: Broker) -> None:
        name = fresh()
        await part.create([spec(name)])
        await self.appeared(part, name)
        assert await part.create([spec(name)]) == {}
        await part.delete([name])
        await part.delete([name])

    async def test_many_at_once_make_one(self, part: Broker) -> None:
        name = fresh()
        refused = await asyncio.gather(*(part.create([spec(name)]) for _ in range(8)))
        assert refused == [{}] * 8
        await self.appeared(part, name)
        assert (await part.topics()).count(name) == 1

    async def test_names_that_clash_are_refused(self, part: Broker) -> None:
        name = fresh()
        await part.create([spec(name)])
        await self.appeared(part, name)
        for clashing in (name.upper(), name.replace("_", ".")):
            assert clashing in await part.create([spec(clashing)])

    async def test_illegal_names_are_refused_alone(self, part: Broker) -> None:
        name = fresh()
        refused = await part.create([spec("not legal"), spec(name)])
        assert set(refused) == {"not legal"}
        await self.appeared(part, name)

    async def test_load_is_a_share(self, part: Broker) -> None:
        assert 0.0 <= await part.load() <= 1.0

    async def test_nothing_is_no_error(self, part: Broker) -> None:
        assert await part.create([]) == {}
        assert await part.exist([]) == set()
        assert await part.describe([]) == {}
        await part.keep({})
        await part.delete([])

    async def kept(self, part: Broker, name: str, retention_ms: int) -> None:
        """Wait until everybody sees how long a topic is kept."""
        async with asyncio.timeout(10):
            while (await part.describe([name]))[name].retention_ms != retention_ms:  # noqa: ASYNC110  (as below)
                await asyncio.sleep(0.02)

    async def appeared(self, part: Broker, name: str) -> None:
        """Wait until a topic can be used."""
        async with asyncio.timeout(10):
            while not await part.exist([name]):  # noqa: ASYNC110  (another process makes it)
                await asyncio.sleep(0.02)
