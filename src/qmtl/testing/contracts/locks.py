"""The promises of :class:`qmtl.ports.locks.Locks`."""

from __future__ import annotations

import asyncio

from qmtl.ports.locks import Locks

_SOON_S, _LATER_S, _LONG_S = 0.05, 0.1, 60.0


class LocksContract:
    """Checks locks."""

    async def pass_time(self, seconds: float) -> None:
        """Let time pass as the locks see it."""
        await asyncio.sleep(seconds)

    async def test_one_holder_at_a_time(self, part: Locks) -> None:
        first = await part.acquire(["lock:a", "lock:b"], _LONG_S)
        assert set(first) == {"lock:a", "lock:b"}
        assert set(await part.acquire(["lock:a", "lock:c"], _LONG_S)) == {"lock:c"}

    async def test_tokens_grow(self, part: Locks) -> None:
        tokens = []
        for _ in range(5):
            held = await part.acquire(["lock:a"], _LONG_S)
            tokens.append(held["lock:a"])
            await part.release(held)
        assert tokens == sorted(set(tokens))

    async def test_a_lock_ends_by_itself_and_the_next_token_is_greater(self, part: Locks) -> None:
        first = await part.acquire(["lock:a"], _SOON_S)
        await self.pass_time(_LATER_S)
        second = await part.acquire(["lock:a"], _LONG_S)
        assert second["lock:a"] > first["lock:a"]

    async def test_a_late_release_leaves_the_next_holder_alone(self, part: Locks) -> None:
        first = await part.acquire(["lock:a"], _SOON_S)
        await self.pass_time(_LATER_S)
        assert await part.acquire(["lock:a"], _LONG_S)
        await part.release(first)
        assert await part.acquire(["lock:a"], _LONG_S) == {}

    async def test_of_many_at_once_one_wins(self, part: Locks) -> None:
        taken = await asyncio.gather(*(part.acquire(["lock:a"], _LONG_S) for _ in range(20)))
        assert sum(bool(one) for one in taken) == 1
