"""What all kept nodes emitted, as arrays of those of one shape: the same as asking for each alone."""

import itertools

import numpy as np
import pytest

from qmtl.engine.order import grouped
from qmtl.engine.plan import Plan
from qmtl.engine.stream import StreamEngine
from qmtl.graph.dag import Dag
from qmtl.indicators import ema, sma
from qmtl.sdk import Node, StreamInput
from qmtl.transforms import resample

pytestmark = pytest.mark.numeric


def double(view):
    return {"value": 2.0 * view.latest("x")["value"]}


def made():
    price = StreamInput(tags=["p"], interval="1m", name="price")
    fast, slow = sma(price.close, 3), ema(price.close, 7)
    twice = Node(input={"x": fast}, compute_fn=double, schema={"value": "float64"}, name="twice")
    above = [fast > slow, slow > sma(price.close, 5), sma(resample(price.close, "5m"), 2)]
    dag = Dag.of([*above, sma(twice["value"], 4) < slow, (fast > slow) & (slow > fast)])
    return price.node_id, Plan.of(dag, {price.node_id: ("close",)})


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_blocks_hold_what_each_node_emitted(rows):
    price, plan = made()
    engine, close = StreamEngine(plan, 16), np.random.default_rng(2).standard_normal((210, 1)).cumsum(axis=0)
    ts, seen = 60 * np.arange(len(close)), 0
    for at in range(0, len(close), rows):
        part = slice(at, at + rows)
        engine.advance(int(ts[part][-1]) + 60, {price: (ts[part], [close[part]])})
        blocks = list(engine.blocks())
        assert {node for block in blocks for node in block.nodes} == plan.nodes.keys() - engine.executor.user_nodes
        for block in blocks:
            for node, mask, count, values in zip(block.nodes, block.masks, block.counts, block.values, strict=True):
                buckets, columns = engine.rows(node)
                assert block.ts[mask == 1].tolist() == buckets.tolist()
                assert count == len(buckets)
                assert tuple(columns) == block.fields
                assert np.stack([*columns.values()]).tobytes() == values[:, mask == 1].tobytes()
                seen += count
    assert seen > 1000


def test_what_is_read_comes_before():
    _, plan = made()
    order = grouped(plan)
    assert sorted(order) == sorted(plan.nodes)
    for node, planned in plan.nodes.items():
        assert all(order.index(one.node.node_id) < order.index(node) for one in planned.inputs if one.node is not None)


def test_nodes_of_one_operator_are_neighbours():
    close = StreamInput(tags=["p"], interval="1m", name="price").close
    plan = Plan.of(Dag.of([(sma(close, k) > ema(close, k)) & (ema(close, k) > sma(close, 9)) for k in (2, 3, 4)]))
    kinds = [plan.nodes[node].node.node_type for node in grouped(plan)]
    runs = [kind for kind, _ in itertools.groupby(kinds)]
    assert len(runs) == len({*kinds}) == 5
