"""The promises of :class:`qmtl.ports.work_queue.WorkQueue`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from qmtl.ports.work_queue import WorkQueue

#: A lease that is over soon, and how long to wait for that, in seconds.
_SOON_S, _LATER_S = 0.05, 0.1
_LONG_S = 60.0


class WorkQueueContract:
    """Checks a work queue; ``pass_time`` is overridden where a clock is passed in."""

    async def pass_time(self, seconds: float) -> None:
        """Let time pass as the queue sees it."""
        await asyncio.sleep(seconds)

    async def test_items_go_out_by_their_place(self, part: WorkQueue) -> None:
        assert await part.push([(3, "c"), (1, "a")]) == 2
        assert await part.push([(2, "b")]) == 1
        assert await part.claim(2, _LONG_S) == ["a", "b"]
        assert await part.claim(2, _LONG_S) == ["c"]
        assert await part.claim(2, _LONG_S) == []

    async def test_pushing_again_changes_nothing(self, part: WorkQueue) -> None:
        await part.push([(1, "a"), (2, "b")])
        assert await part.claim(1, _LONG_S) == ["a"]
        assert await part.push([(1, "a"), (2, "b")]) == 0
        assert await part.depth() == 2
        assert await part.claim(9, _LONG_S) == ["b"]

    async def test_a_lease_that_is_over_gives_the_item_out_again_and_first(self, part: WorkQueue) -> None:
        await part.push([(1, "a"), (2, "b")])
        assert await part.claim(1, _SOON_S) == ["a"]
        await self.pass_time(_LATER_S)
        assert await part.claim(2, _LONG_S) == ["a", "b"]

    async def test_what_is_done_never_comes_back(self, part: WorkQueue) -> None:
        await part.push([(1, "a")])
        assert await part.claim(1, _SOON_S) == ["a"]
        await part.done(["a", "never there"])
        await self.pass_time(_LATER_S)
        assert await part.claim(1, _LONG_S) == []
        assert await part.depth() == 0
        assert await part.push([(1, "a")]) == 1

    async def test_two_workers_never_hold_one_item(self, part: WorkQueue) -> None:
        await part.push([(k, str(k)) for k in range(200)])
        claims: list[Awaitable[list[str]]] = [part.claim(7, _LONG_S) for _ in range(40)]
        given = [one for claim in await asyncio.gather(*claims) for one in claim]
        assert sorted(given, key=int) == [str(k) for k in range(200)]

    async def test_it_is_fresh_until_settled(self, part: WorkQueue) -> None:
        assert await part.is_fresh()
        await part.settle()
        assert not await part.is_fresh()

    async def test_nothing_is_no_error(self, part: WorkQueue) -> None:
        assert await part.push([]) == 0
        await part.done([])
        assert await part.depth() == 0

    async def test_it_tells_its_version(self, part: WorkQueue) -> None:
        assert await part.check()
        assert part.kind
