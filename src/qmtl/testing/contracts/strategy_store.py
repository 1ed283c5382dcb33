"""The promises of :class:`qmtl.ports.strategy_store.StrategyStore`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from qmtl.ports.strategy_store import Placement, StrategyStore
from qmtl.testing.contracts.samples import step, submission

_TTL_S = 100.0
_PLACED = Placement({"n1": "t1"}, {"n1": "new"}, new=1, reused=0, buffering=0, sentinel_id="v1")


class StrategyStoreContract:
    """Checks a strategy store."""

    async def test_what_is_accepted_is_there(self, part: StrategyStore) -> None:
        new = submission("a")
        (accepted,) = await part.accept([new], _TTL_S)
        assert (accepted.strategy_id, accepted.created) == ("s-a", True)
        stored = (await part.get(["s-a", "unknown"]))["s-a"]
        assert (stored.state, stored.owner, stored.run_type, stored.meta) == ("queued", "alice", "dry-run", new.meta)
        assert (stored.seq, stored.placement, stored.submitted_at) == (accepted.seq, None, 1000.0)
        assert await part.dags(["s-a", "unknown"]) == {"s-a": new.dag}

    async def test_equal_keys_are_one_strategy(self, part: StrategyStore) -> None:
        await part.accept([submission("a")], _TTL_S)
        again = await part.accept([submission("b", key="key-a"), submission("c"), submission("d", key="key-c")], _TTL_S)
        assert [(one.strategy_id, one.created) for one in again] == [("s-a", False), ("s-c", True), ("s-c", False)]

    async def test_equal_keys_at_once_are_one_strategy(self, part: StrategyStore) -> None:
        batches = [[submission(f"{k}-{key}", key=key) for key in ("x", "y")[:: 1 if k % 2 else -1]] for k in range(12)]
        answers = await asyncio.gather(*(part.accept(batch, _TTL_S) for batch in batches))
        assert sum(one.created for answer in answers for one in answer) == 2
        assert len({one.strategy_id for answer in answers for one in answer}) == 2
        assert len(await part.find(limit=100)) == 2

    async def test_a_key_is_held_for_its_time(self, part: StrategyStore) -> None:
        await part.accept([submission("a", at=1000.0)], _TTL_S)
        (within,) = await part.accept([submission("b", key="key-a", at=1099.0)], _TTL_S)
        (after,) = await part.accept([submission("c", key="key-a", at=1100.0)], _TTL_S)
        assert (within.strategy_id, after.strategy_id) == ("s-a", "s-c")

    async def test_a_key_is_given_up_by_a_step(self, part: StrategyStore) -> None:
        await part.accept([submission("a")], _TTL_S)
        stored = (await part.get(["s-a"]))["s-a"]
        assert await part.transition([step(stored, "draining", cause="drain")]) == [True]
        (again,) = await part.accept([submission("b", key="key-a")], _TTL_S)
        assert again.created

    async def test_a_step_happens_once_with_its_row_in_the_log(self, part: StrategyStore) -> None:
        await part.accept([submission("a")], _TTL_S)
        stored = (await part.get(["s-a"]))["s-a"]
        pick = step(stored, "diffing")
        assert await part.transition([pick]) == [True]
        assert await part.transition([pick]) == [False]
        moved = (await part.get(["s-a"]))["s-a"]
        mapped = replace(step(moved, "warming", cause="mapped"), placement=_PLACED)
        unknown = replace(pick, strategy_id="unknown")
        assert await part.transition([unknown, mapped]) == [False, True]
        assert (await part.get(["s-a"]))["s-a"].placement == _PLACED
        log = [(one.source, one.target, one.cause) for one in await part.log("s-a")]
        assert log == [(None, "queued", "submitted"), ("queued", "diffing", "pick"), ("diffing", "warming", "mapped")]

    async def test_a_fence_that_is_behind_is_refused(self, part: StrategyStore) -> None:
        await part.accept([submission("a")], _TTL_S)
        stored = (await part.get(["s-a"]))["s-a"]
        assert await part.transition([step(stored, "diffing", fence=7)]) == [True]
        moved = (await part.get(["s-a"]))["s-a"]
        assert moved.fence == 7
        assert await part.transition([step(moved, "rejected", fence=6)]) == [False]
        assert await part.transition([step(moved, "warming", fence=7)]) == [True]

    async def test_of_many_equal_steps_at_once_one_happens(self, part: StrategyStore) -> None:
        await part.accept([submission("a")], _TTL_S)
        stored = (await part.get(["s-a"]))["s-a"]
        taken = await asyncio.gather(*(part.transition([step(stored, "diffing")]) for _ in range(12)))
        assert [one for (one,) in taken].count(True) == 1
        assert len(await part.log("s-a")) == 2

    async def test_lists_are_filtered_and_paged_newest_first(self, part: StrategyStore) -> None:
        await part.accept([submission("a"), submission("b", owner="bob"), submission("c")], _TTL_S)
        assert [one.strategy_id for one in await part.find()] == ["s-c", "s-b", "s-a"]
        assert [one.strategy_id for one in await part.find(owner="alice")] == ["s-c", "s-a"]
        newest = (await part.find(limit=1))[0]
        assert [one.strategy_id for one in await part.find(before=newest.seq)] == ["s-b", "s-a"]
        await part.transition([step(newest, "diffing")])
        assert [one.strategy_id for one in await part.find(states=["diffing"])] == ["s-c"]

    async def test_unfinished_work_comes_in_the_order_of_submission(self, part: StrategyStore) -> None:
        await part.accept([submission(name) for name in "abcd"], _TTL_S)
        await part.transition([step((await part.get(["s-b"]))["s-b"], "stopped")])
        first = await part.unfinished(["queued"], 0, 2)
        assert [name for _, name in first] == ["s-a", "s-c"]
        assert [name for _, name in await part.unfinished(["queued"], first[-1][0], 2)] == ["s-d"]
