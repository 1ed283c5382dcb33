"""The four decisions of a diff, as a pure function over what is known."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from qmtl.dagmanager import diff
from qmtl.graph.identity import Parts
from qmtl.ports.graph_store import READY, Emission, Known, StoredNode, StoredQueue
from qmtl.wire.dag import read
from qmtl.wire.messages import DiffRequest
from stack.documents import chain, entry

NOW = 1_000_000.0
DAY = 86_400.0


def document(made):
    return read(json.dumps(made).encode())


def request(strategy="s-1", run_type="dry-run"):
    return DiffRequest(strategy, run_type, b"")


def decide(made, known=None, asked=None, now=NOW):
    return diff.decide(asked or request(), document(made), known or Known(), now)


def after(decision, known=None, producer="s-1"):
    """What is known when a decision has been applied."""
    known = known or Known()
    stored = {queue.topic: queue for queue in decision.change.queues}
    made = {
        topic: StoredQueue(**{**fields(queue), "state": READY, "producer": producer}) for topic, queue in stored.items()
    }
    near = {(node.code_hash, node.config_hash): [node] for node in decision.change.nodes}
    return diff.merged(
        known,
        Known(
            nodes={node.node_id: parts(node) for node in decision.change.nodes},
            emissions={(one.node_id, one.domain): one for one in decision.change.emissions},
            queues=made,
            near=near,
        ),
    )


def fields(record):
    return structs.asdict(record)


def parts(node):
    return Parts(node.node_type, node.code_hash, node.config_hash, node.schema_hash)


def test_an_empty_world_knows_nothing():
    decision = decide(chain("a", "b"))
    assert [*decision.answer.actions.values()] == ["new"] * 3
    assert (decision.answer.new, decision.answer.reused) == (3, 0)
    assert len(decision.change.nodes) == len(decision.change.queues) == len(decision.unready) == 3
    assert set(decision.change.produces) == set(decision.change.uses) == set(decision.answer.queue_map.values())


def test_a_stream_keeps_what_its_readers_begin_with_and_the_largest_need_wins():
    def keeping(bars):
        made = chain("a")
        made["nodes"][0]["period"] = bars
        return made

    minutes = 60 * 24 * 7
    assert decide(keeping(minutes // 2)).keeps == {}, "a week is what the class of streams has"
    known = after(decide(keeping(1)))
    decision = decide(keeping(minutes), known, request("s-2"))
    stream = decision.answer.queue_map[chain("a")["nodes"][0]["node_id"]]
    assert decision.keeps == {stream: 14 * DAY * 1000}


def test_a_known_node_with_a_producer_is_reused():
    known = after(decide(chain("a")))
    decision = decide(chain("a", "b"), known, request("s-2"))
    assert [*decision.answer.actions.values()] == ["reuse", "reuse", "new"]
    assert len(decision.change.nodes) == 1
    assert len(decision.change.produces) == 1


def test_a_known_node_without_a_producer_is_produced_by_the_submitter():
    known = after(decide(chain("a")), producer=None)
    decision = decide(chain("a"), known, request("s-2"))
    assert [*decision.answer.actions.values()] == ["produce", "produce"]
    assert (decision.answer.new, decision.answer.reused) == (0, 2)
    assert set(decision.change.produces) == set(decision.answer.queue_map.values())


def test_the_same_request_again_gives_the_same_answer():
    first = decide(chain("a", "b"))
    again = decide(chain("a", "b"), after(first))
    assert again.answer == first.answer
    assert (again.change.nodes, again.change.queues, again.change.emissions) == ((), (), ())


def near(old_schema, new_schema, **known_more):
    """A node of the same code and configuration, known with one schema and submitted with another."""
    stream = entry("price")
    old, new = entry("mean", [stream]), entry("mean v2", [stream])
    stored = after(decide({"version": "qmtl.dag/1", "nodes": [stream, old]}))
    stored_old = stored.near[old["code_hash"], old["config_hash"]][0]
    twin = StoredNode(**{**fields(stored_old), "schema": old_schema, **known_more})
    found = read_one(new, stream, new_schema)
    near_key = (found.nodes[1].code_hash, found.nodes[1].config_hash)
    return diff.merged(stored, Known(near={near_key: [twin]})), found


def read_one(new, stream, schema):
    return document({"version": "qmtl.dag/1", "nodes": [stream, {**new, "schema": schema}]})


@pytest.mark.parametrize(
    ("old", "new", "action"),
    [
        ({"value": "float"}, {"value": "float", "more": "float"}, "buffer"),
        ({"value": "float"}, {"value": "int"}, "new"),
        ({"value": "float", "other": "int"}, {"value": "float"}, "new"),
        (None, {"value": "float"}, "new"),
        ({"value": "float"}, None, "new"),
    ],
)
def test_a_schema_that_was_extended_is_buffered(old, new, action):
    known, submitted = near(old, new)
    decision = diff.decide(request("s-2"), submitted, known, NOW)
    assert [*decision.answer.actions.values()] == ["reuse", action]
    assert decision.answer.buffering == (action == "buffer")


def test_buffering_ends_after_seven_days_with_a_queue_of_its_own():
    known, submitted = near({"value": "float"}, {"value": "float", "more": "float"})
    first = diff.decide(request("s-2"), submitted, known, NOW)
    known = diff.merged(known, Known(emissions={(e.node_id, e.domain): e for e in first.change.emissions}))
    assert [e.buffering_since for e in first.change.emissions] == [NOW]
    still = diff.decide(request("s-3"), submitted, known, NOW + 7 * DAY)
    assert [*still.answer.actions.values()] == ["reuse", "buffer"]
    full = diff.decide(request("s-4"), submitted, known, NOW + 7 * DAY + 1)
    assert [*full.answer.actions.values()] == ["reuse", "new"]
    assert [e.buffering_since for e in full.change.emissions] == [None]
    assert full.answer.queue_map != still.answer.queue_map


def test_another_type_of_equal_code_is_not_near():
    known, submitted = near({"value": "float"}, {"value": "float", "more": "float"}, node_type="ema")
    assert [*diff.decide(request(), submitted, known, NOW).answer.actions.values()][1] == "new"


def trade(kind="target_position"):
    stream = entry("price")
    decided = entry("position", [stream])
    made = {"version": "qmtl.dag/1", "nodes": [stream, decided]}
    return read(json.dumps(made).encode()), kind


@pytest.mark.parametrize(("run_type", "suffix"), [("live", "_v1"), ("dry-run", "_v1_sim"), ("backtest", "_v1_sim")])
def test_simulated_and_real_decisions_do_not_share_a_queue(run_type, suffix):
    import msgspec

    submitted, kind = trade()
    nodes = (submitted.nodes[0], msgspec.structs.replace(submitted.nodes[1], node_type=kind))
    decision = diff.decide(request(run_type=run_type), diff.Document(nodes, ""), Known(), NOW)
    market, position = decision.answer.queue_map.values()
    assert market.endswith("_v1")
    assert position.endswith(suffix)


def test_what_is_not_pure_is_for_its_strategy_alone_and_so_is_what_reads_it():
    stream = entry("price")
    own = entry("own", [stream], pure=False)
    made = {"version": "qmtl.dag/1", "nodes": [stream, own, entry("after", [own])]}
    first = decide(made)
    second = decide(made, after(first), request("s-2"))
    assert [*second.answer.actions.values()] == ["reuse", "new", "new"]
    shared = set(first.answer.queue_map.values()) & set(second.answer.queue_map.values())
    assert len(shared) == 1


def test_a_name_that_is_taken_gets_a_longer_one():
    first = decide(chain())
    taken = first.change.queues[0]
    stranger = StoredQueue(**{**fields(taken), "node_id": "another"})
    decision = decide(chain(), Known(queues={taken.topic: stranger}))
    (topic,) = decision.answer.queue_map.values()
    assert len(topic) == len(taken.topic) + 2
    assert topic.startswith(taken.topic.removesuffix("_v1"))


def test_an_id_with_other_content_is_renamed_and_answered_under_its_own():
    made = document(chain())
    first = decide(chain())
    stored = first.change.nodes[0]
    other = Known(nodes={stored.node_id: parts(stored)._replace(code_hash="other")})
    renamed = diff.collisions(made, other)
    assert set(renamed) == {stored.node_id}
    decision = diff.decide(request(), diff.rename(made, renamed), other, NOW)
    assert set(decision.answer.queue_map) == set(renamed.values())
    assert set(diff.restore(decision.answer, renamed).queue_map) == {stored.node_id}


def test_a_query_has_no_queue():
    made = chain()
    node = document({"version": "qmtl.dag/1", "nodes": [entry("price"), entry("query")]})
    import msgspec

    query = msgspec.structs.replace(node.nodes[1], node_type="TagQueryNode")
    decision = diff.decide(request(), diff.Document((node.nodes[0], query), ""), Known(), NOW)
    assert len(decision.answer.queue_map) == len(made["nodes"])


def test_emissions_are_per_domain():
    decision = decide(chain("a"))
    assert {e.domain for e in decision.change.emissions} == {""}
    assert isinstance(decision.change.emissions[0], Emission)
