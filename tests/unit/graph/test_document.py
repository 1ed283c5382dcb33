"""The DAG document: what travels, and what a receiver refuses."""

import json

import pytest

from qmtl.errors import DocumentError, LoweringError
from qmtl.graph.dag import Dag
from qmtl.graph.document import document
from qmtl.graph.lowering import check_lowering, derive, lower
from qmtl.indicators import macd, sma
from qmtl.sdk import Node, StreamInput, TagQueryNode
from qmtl.wire.dag import Limits, TooLargeError, read


def graph():
    price = StreamInput(tags=["BTC"], interval="1m", name="price")
    mean = sma(price.close, 3, name="mean")
    queried = Node(TagQueryNode(["BTC"], "1m", 2), len, name="queried")
    return Dag.of([price, mean, macd(mean["value"]), (price.close > mean) & (price.open > 2.0), queried])


def test_a_document_is_plain_data_and_verifies():
    made = document(graph())
    entries = read(json.dumps(made).encode()).nodes
    assert [entry.node_id for entry in entries] == [node["node_id"] for node in made["nodes"]]
    assert [node["name"] for node in made["nodes"]][:2] == ["price", "mean"]
    assert all(set(node) >= {"node_id", "crc32", "inputs", "schema", "pure"} for node in made["nodes"])


def test_ids_follow_from_the_lowered_form():
    dag = graph()
    assert {node.node_id for node in dag.nodes} <= set(derive(lower(dag)))
    check_lowering(dag)


def test_a_node_that_was_changed_is_found():
    dag = graph()
    dag.node("mean").params["period"] = 4
    with pytest.raises(LoweringError, match=r"QM001.*'mean'"):
        check_lowering(dag)


DAMAGE = {
    "version": (lambda d: d.update(version="qmtl.dag/9"), "/version"),
    "no nodes": (lambda d: d.update(nodes=[]), "/nodes"),
    "crc": (lambda d: d["nodes"][1].update(crc32=1), "/nodes/1/crc32"),
    "id": (lambda d: d["nodes"][1].update(code_hash="0" * 64), "/nodes/1/node_id"),
    "twice": (lambda d: d["nodes"].append(d["nodes"][0]), "/nodes/"),
    "order": (lambda d: d["nodes"].reverse(), "/nodes/0/inputs/"),
    "field": (lambda d: d["nodes"][0].pop("node_type"), "/nodes/0"),
    "not a node": (lambda d: d["nodes"].insert(0, 5), "/nodes/0"),
    "an input of itself": (lambda d: d["nodes"][1]["inputs"].append({"node_id": d["nodes"][1]["node_id"]}), "/nodes/1"),
    "long name": (lambda d: d["nodes"][1].update(name="x" * 300), "/nodes/1/name"),
    "control characters": (lambda d: d["nodes"][1].update(name="a\x00b"), "/nodes/1/name"),
    "many tags": (lambda d: d["nodes"][0].update(tags=["t"] * 65), "/nodes/0/tags"),
    "negative interval": (lambda d: d["nodes"][0].update(interval=-1), "/nodes/0"),
    "huge number": (lambda d: d["nodes"][0].update(period=10**30), ""),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_with_a_pointer(name):
    damage, pointer = DAMAGE[name]
    made = document(graph())
    damage(made)
    with pytest.raises(DocumentError) as caught:
        read(json.dumps(made).encode())
    assert caught.value.pointer.startswith(pointer)


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{", b'"text"', b"\xff", b'{"version": "qmtl.dag/1"}', b"[" * 100_000]
)
def test_what_is_no_document_is_refused(raw):
    with pytest.raises(DocumentError):
        read(raw)


def test_limits_hold():
    raw = json.dumps(document(graph())).encode()
    with pytest.raises(TooLargeError, match="bytes"):
        read(raw, Limits(size=len(raw) - 1))
    with pytest.raises(TooLargeError, match="nodes"):
        read(raw, Limits(nodes=3))
