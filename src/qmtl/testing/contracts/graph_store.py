"""The promises of :class:`qmtl.ports.graph_store.GraphStore` and :class:`qmtl.ports.version_store.VersionStore`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs

from qmtl.errors import ConflictError, EndedError
from qmtl.ports.graph_store import DROPPING, READY, Change, Emission
from qmtl.ports.version_store import VersionedGraph
from qmtl.testing.contracts.samples import change, node, parts, queue, reuse, wanted
from qmtl.wire.messages import QueueQuery

A, B = node("a", tags=("BTC", "price")), node("b", inputs=("aaaaaaaa",), tags=("BTC",), at=2.0)
TOPIC_A, TOPIC_B = queue(A).topic, queue(B).topic


async def applied(part: VersionedGraph, one: Change) -> None:
    """Write one change, or raise why not."""
    (verdict,) = await part.apply([one])
    if verdict is not None:
        raise verdict


async def strategies(part: VersionedGraph) -> dict[str, int]:
    """Return how many strategies use each queue."""
    return {one.topic: one.strategies for one in await part.queues(QueueQuery())}


async def producers(part: VersionedGraph) -> dict[str, str | None]:
    """Return who fills each queue."""
    return {one.topic: one.producer for one in await part.queues(QueueQuery())}


class GraphStoreContract:
    """Checks a graph store that keeps versions too."""

    async def test_what_is_applied_is_fetched(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, B))
        known = await part.fetch([wanted(A), wanted(B), wanted(node("c"))])
        assert known.nodes == {one.node_id: parts(one) for one in (A, B)}
        assert known.near == {}
        assert known.emissions[A.node_id, ""] == Emission(A.node_id, "", TOPIC_A)
        assert {topic: one.producer for topic, one in known.queues.items()} == {TOPIC_A: "s-1", TOPIC_B: "s-1"}
        assert known.queues[TOPIC_B].tags == B.tags

    async def test_a_near_node_comes_with_its_queue(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A))
        twin = structs.replace(A, node_id="twin")
        known = await part.fetch([wanted(twin), wanted(structs.replace(twin, code_hash="other"))])
        assert known.nodes == {}
        assert known.near == {(A.code_hash, A.config_hash): [A]}
        assert set(known.queues) == {TOPIC_A}

    async def test_a_name_that_is_taken_is_told(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A))
        stranger = structs.replace(wanted(node("c")), topics=(TOPIC_A, "free"))
        assert set((await part.fetch([stranger])).queues) == {TOPIC_A}

    async def test_an_empty_graph_knows_nothing(self, part: VersionedGraph) -> None:
        known = await part.fetch([wanted(A)])
        assert (known.nodes, known.emissions, known.queues, known.near) == ({}, {}, {}, {})

    async def test_the_same_change_again_changes_nothing(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, B, sentinel="v1"))
        before = (await part.nodes(), await part.queues(QueueQuery()), await part.sentinels())
        await applied(part, change("s-1", A, B, sentinel="v1"))
        assert (await part.nodes(), await part.queues(QueueQuery()), await part.sentinels()) == before

    async def test_equal_changes_at_once_make_one_node_one_queue_one_producer(self, part: VersionedGraph) -> None:
        answers = await asyncio.gather(*(part.apply([change(f"s-{k}", A, B)]) for k in range(8)))
        verdicts = [verdict for (verdict,) in answers]
        assert verdicts.count(None) == 1
        assert all(isinstance(verdict, ConflictError) for verdict in verdicts if verdict)
        assert len(await part.nodes()) == 2
        assert await strategies(part) == {TOPIC_A: 1, TOPIC_B: 1}
        assert set((await producers(part)).values()) == {f"s-{verdicts.index(None)}"}

    async def test_changes_in_one_transaction_stand_for_each_other(self, part: VersionedGraph) -> None:
        ended = change("s-ended", B)
        await part.release("s-ended", at=1.0)
        verdicts = await part.apply([change("s-1", A), change("s-2", A), ended, reuse("s-3", A), change("s-4", B)])
        assert [type(verdict) for verdict in verdicts] == [
            type(None),
            ConflictError,
            EndedError,
            type(None),
            type(None),
        ]
        assert await strategies(part) == {TOPIC_A: 2, TOPIC_B: 1}
        assert await producers(part) == {TOPIC_A: "s-1", TOPIC_B: "s-4"}

    async def test_a_node_that_is_gone_is_not_written_to(self, part: VersionedGraph) -> None:
        late = replace(change("s-1", A), nodes=())
        with pytest.raises(ConflictError):
            await applied(part, late)
        assert await part.queues(QueueQuery()) == []

    async def test_a_change_that_fails_leaves_nothing(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A))
        taken = replace(change("s-2", B), queues=(queue(B, topic=TOPIC_A),), uses=(TOPIC_A,), produces=(), emissions=())
        with pytest.raises(ConflictError):
            await applied(part, taken)
        assert [one.node_id for one in await part.nodes()] == [A.node_id]
        assert await strategies(part) == {TOPIC_A: 1}

    async def test_a_node_keeps_its_queue(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A))
        other = replace(
            reuse("s-2", A),
            queues=(queue(A, topic="other"),),
            uses=("other",),
            emissions=(Emission(A.node_id, "", "other"),),
        )
        with pytest.raises(ConflictError):
            await applied(part, other)

    async def test_buffering_ends_with_a_queue_of_its_own(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A))
        buffered = replace(
            change("s-2", B),
            queues=(),
            uses=(TOPIC_A,),
            produces=(),
            emissions=(Emission(B.node_id, "", TOPIC_A, 5.0),),
        )
        await applied(part, buffered)
        known = await part.fetch([wanted(B)])
        assert known.emissions[B.node_id, ""] == Emission(B.node_id, "", TOPIC_A, 5.0)
        await applied(part, change("s-3", B))
        known = await part.fetch([wanted(B)])
        assert known.emissions[B.node_id, ""] == Emission(B.node_id, "", TOPIC_B)

    async def test_release_hands_production_over_then_ends_it(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, B))
        await applied(part, reuse("s-2", A))
        assert await part.release("s-1", at=10.0) == sorted([TOPIC_A, TOPIC_B])
        assert await producers(part) == {TOPIC_A: "s-2", TOPIC_B: None}
        released = {one.topic: one.released_at for one in await part.queues(QueueQuery())}
        assert released == {TOPIC_A: None, TOPIC_B: 10.0}
        assert await part.release("s-1", at=11.0) == []
        assert await part.release("never there", at=11.0) == []
        assert {one.topic: one.released_at for one in await part.queues(QueueQuery())} == released

    async def test_a_diff_that_comes_after_the_end_leaves_nothing(self, part: VersionedGraph) -> None:
        await part.release("s-1", at=10.0)
        with pytest.raises(EndedError):
            await applied(part, change("s-1", A))
        assert await part.nodes() == []

    async def test_a_queue_that_is_used_again_is_no_garbage(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A))
        await part.release("s-1", at=10.0)
        await applied(part, reuse("s-2", A))
        assert [one.released_at for one in await part.queues(QueueQuery())] == [None]
        assert await part.mark([TOPIC_A], DROPPING, unused_since=99.0) == []

    async def test_garbage_is_marked_and_forgotten(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, B))
        await applied(part, reuse("s-2", A))
        await part.release("s-1", at=10.0)
        assert await part.mark([TOPIC_A, TOPIC_B], DROPPING, unused_since=9.0) == []
        assert await part.mark([TOPIC_A, TOPIC_B], DROPPING, unused_since=10.0) == [TOPIC_B]
        with pytest.raises(ConflictError):
            await applied(part, change("s-3", B))
        assert await part.forget([TOPIC_A, TOPIC_B]) == [TOPIC_B]
        assert [one.node_id for one in await part.nodes()] == [A.node_id]
        await applied(part, change("s-3", B))
        assert await strategies(part) == {TOPIC_A: 1, TOPIC_B: 1}

    async def test_only_pending_queues_become_ready(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, B))
        assert sorted(await part.mark([TOPIC_A, TOPIC_B], READY)) == sorted([TOPIC_A, TOPIC_B])
        assert await part.mark([TOPIC_A], READY) == []
        await part.release("s-1", at=1.0)
        await part.mark([TOPIC_A], DROPPING, unused_since=2.0)
        assert await part.mark([TOPIC_A], READY) == []

    async def test_nodes_tell_who_uses_them(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, B))
        await applied(part, reuse("s-2", A))
        found = {one.node_id: one for one in await part.nodes()}
        assert found[A.node_id].strategies == ["s-1", "s-2"]
        assert (found[B.node_id].topics, found[B.node_id].inputs) == ([TOPIC_B], [A.node_id])
        assert [one.node_id for one in await part.nodes(["price", "BTC"])] == [A.node_id]
        assert await part.nodes(["price", "other"]) == []

    @pytest.mark.parametrize(
        ("query", "topics"),
        [
            (QueueQuery(), [TOPIC_A, TOPIC_B]),
            (QueueQuery(tags=["price", "other"]), [TOPIC_A]),
            (QueueQuery(tags=["price", "BTC"]), [TOPIC_A, TOPIC_B]),
            (QueueQuery(tags=["price", "BTC"], match="all"), [TOPIC_A]),
            (QueueQuery(tags=["BTC"], interval=60), [TOPIC_A, TOPIC_B]),
            (QueueQuery(tags=["BTC"], interval=300), []),
        ],
    )
    async def test_queues_are_found_by_tag(self, part: VersionedGraph, query: QueueQuery, topics: list[str]) -> None:
        await applied(part, change("s-1", A, B))
        assert [one.topic for one in await part.queues(query)] == topics

    async def test_versions_pin_and_go(self, part: VersionedGraph) -> None:
        await applied(part, change("s-1", A, sentinel="v1"))
        (version,) = await part.sentinels()
        assert (version.version, version.commit_hash, version.release_tag) == ("v1", "c0ffee", "r1")
        assert (version.strategies, version.released_at) == (1, None)
        assert not await part.drop_sentinel("v1")
        await part.release("s-1", at=10.0)
        assert [(one.strategies, one.released_at) for one in await part.sentinels()] == [(0, 10.0)]
        assert await part.weigh("v1", 0.5)
        assert not await part.weigh("unknown", 0.5)
        assert [one.pinned for one in await part.queues(QueueQuery())] == [True]
        assert await part.mark([TOPIC_A], DROPPING, unused_since=99.0) == []
        assert await part.drop_sentinel("v1")
        assert await part.sentinels() == []
        assert await part.mark([TOPIC_A], DROPPING, unused_since=99.0) == [TOPIC_A]
        await part.forget([TOPIC_A])
        assert await part.nodes() == []

    async def test_terms_grow_and_nobody_gets_the_same(self, part: VersionedGraph) -> None:
        first = await part.next_term()
        assert first >= 1
        at_once = await asyncio.gather(*(part.next_term() for _ in range(5)))
        assert sorted(at_once) == [*range(first + 1, first + 6)]
        await applied(part, change("s-1", A))
        assert await part.next_term() == first + 6
