"""Many who ask at once are served in one go."""

import asyncio

import pytest

from qmtl.batching import Batcher
from qmtl.errors import UnavailableError, UsageError

pytestmark = pytest.mark.anyio


async def test_whoever_comes_meanwhile_is_in_the_next_batch():
    batches = []
    gate = asyncio.Event()

    async def work(items):
        batches.append(items)
        await gate.wait()
        return [item * 2 for item in items]

    double = Batcher(work, size=3, bound=100, role="test")
    asked = [asyncio.create_task(double(k)) for k in range(1)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked += [asyncio.create_task(double(k)) for k in range(1, 6)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*asked) == [0, 2, 4, 6, 8, 10]
    assert batches == [[0], [1, 2, 3], [4, 5]]


async def test_an_error_is_of_one_or_of_all():
    async def work(items):
        if 13 in items:
            raise UnavailableError("down", dependency="test")
        return [UsageError("odd") if item % 2 else item for item in items]

    ask = Batcher(work, size=10, bound=100, role="test")
    one, other = await asyncio.gather(ask(1), ask(2), return_exceptions=True)
    assert isinstance(one, UsageError)
    assert other == 2
    both = await asyncio.gather(ask(13), ask(2), return_exceptions=True)
    assert [type(error) for error in both] == [UnavailableError] * 2
    assert await ask(4) == 4


async def test_who_left_is_not_worked_for():
    worked = []

    async def work(items):
        worked.extend(items)
        return items

    ask = Batcher(work, size=10, bound=100, role="test")
    leaving, staying = asyncio.create_task(ask(1)), asyncio.create_task(ask(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 2
    assert worked == [2]


async def test_too_many_are_told_to_come_again():
    gate = asyncio.Event()

    async def work(items):
        await gate.wait()
        return items

    ask = Batcher(work, size=1, bound=2, role="test")
    asked = [asyncio.create_task(ask(k)) for k in range(3)]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, int, UnavailableError]
