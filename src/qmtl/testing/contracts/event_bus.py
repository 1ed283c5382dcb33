"""The promises of :class:`qmtl.ports.event_bus.EventBus`."""

from __future__ import annotations

import asyncio

from qmtl.ports.event_bus import EventBus
from qmtl.wire.events import PROGRESS, Event, event


def made(name: str) -> Event:
    """Return an event with a repeatable id."""
    return event(PROGRESS, source="/test", at=1.0, subject="s-1", data={"name": name}, key=name)


class EventBusContract:
    """Checks a bus."""

    async def test_every_reader_sees_the_same_order(self, part: EventBus) -> None:
        start = await part.last()
        await part.publish([made("a"), made("b")])
        await part.publish([made("c")])
        one, other = await part.read(start, 10, 0.0), await part.read(start, 10, 0.0)
        assert [found.data["name"] for _, found in one] == ["a", "b", "c"]
        assert one == other

    async def test_reading_goes_on_behind_a_position(self, part: EventBus) -> None:
        start = await part.last()
        await part.publish([made("a"), made("b"), made("c")])
        first = await part.read(start, 2, 0.0)
        rest = await part.read(first[-1][0], 10, 0.0)
        assert [found.data["name"] for _, found in rest] == ["c"]
        assert rest[-1][0] == await part.last()

    async def test_an_event_is_there_once(self, part: EventBus) -> None:
        start = await part.last()
        await part.publish([made("a")])
        await part.publish([made("a"), made("b")])
        assert [found.data["name"] for _, found in await part.read(start, 10, 0.0)] == ["a", "b"]

    async def test_a_waiting_reader_is_woken(self, part: EventBus) -> None:
        start = await part.last()
        reading = asyncio.create_task(part.read(start, 10, 1.0))
        await asyncio.sleep(0)
        await part.publish([made("a")])
        assert [found.data["name"] for _, found in await reading] == ["a"]

    async def test_waiting_ends(self, part: EventBus) -> None:
        assert await part.read(await part.last(), 10, 0.05) == []

    async def test_the_position_of_an_event_is_known_while_it_is_kept(self, part: EventBus) -> None:
        await part.publish([made("a"), made("b")])
        position = await part.position_of(made("a").id)
        assert position is not None
        assert [found.data["name"] for _, found in await part.read(position, 10, 0.0)] == ["b"]
        assert await part.position_of("unknown") is None
