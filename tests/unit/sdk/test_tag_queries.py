"""Tag queries of a live run take queues of other strategies as upstreams, and let them go."""

from __future__ import annotations

import pytest

from qmtl.graph.dag import Dag
from qmtl.indicators import sma
from qmtl.sdk import Node, Strategy, StreamInput, TagQueryNode
from qmtl.sdk.tag_queries import QueueNode, queries, resolved


def total(view):
    return {"total": sum(view.array(node, "value")[-1] for node in view)}


class Reader(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        found = TagQueryNode(["momentum"], interval="1m", period=3, name="found")
        all_of_it = Node(input=found, compute_fn=total, name="total")
        self.add_nodes([price, all_of_it, Node(input=all_of_it, compute_fn=total, name="below")])


@pytest.fixture
def built():
    return Reader.build()


def queue(name, tags=("momentum",), interval=60):
    return QueueNode(name, f"btc_sma_{name}_v1", tags, interval)


def test_queries_are_found_behind_their_readers(built):
    assert [query.query_tags for query in queries([built, built])] == [("momentum",)]


def test_without_an_upstream_readers_and_what_depends_on_them_are_idle(built):
    made = resolved([built], [])
    assert [node.name for node in made.dag.nodes] == ["price"]
    assert len(made.idle) == 2
    assert made.queues == ()


def test_a_queue_becomes_an_upstream_and_ids_stay_what_they_were(built):
    made = resolved([built], [queue("ab12"), queue("cd34"), queue("ef56", interval=300), queue("0123", tags=("x",))])
    total_id = built.dag.names["total"]
    assert [edge.node.node_id for edge in made.dag.inputs[total_id]] == ["ab12", "cd34"]
    assert {node.node_id for node in made.queues} == {"ab12", "cd34"}
    assert made.varying == {total_id, built.dag.names["below"]}
    assert made.idle == frozenset()
    assert {node.node_id for node in built.dag.nodes} < {node.node_id for node in made.dag.nodes}


def test_a_node_of_the_same_process_is_itself_and_not_its_queue():
    class Both(Reader):
        def setup(self):
            super().setup()
            price = StreamInput(tags=["BTC"], interval="1m")
            self.add_nodes([sma(price.close, 5, name="mean", tags=["momentum"])])

    built = Both.build()
    mean = built.dag.names["mean"]
    made = resolved([built], [queue(mean)])
    assert made.queues == ()
    assert [edge.node.node_id for edge in made.dag.inputs[built.dag.names["total"]]] == [mean]
    assert isinstance(made.dag, Dag)
