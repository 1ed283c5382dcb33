"""One field of every node that is read, without an object for each: the same values as the effects."""

import math

import numpy as np

from qmtl.engine.plan import Plan
from qmtl.engine.stream import Sealed, StreamEngine
from qmtl.graph.dag import Dag
from qmtl.indicators import ema, sma
from qmtl.sdk import Node, StreamInput
from qmtl.transforms import resample


def closes(n):
    return 100.0 + np.random.default_rng(3).normal(size=n).cumsum()


def check(nodes, n=300):
    price = StreamInput(tags=["p"], interval="1m", name="price")
    made = nodes(price)
    plan = Plan.of(Dag.of(made), {price.node_id: ("close",)}, [node.node_id for node in made])
    engine, order = StreamEngine(plan), [node for node in plan.nodes if node in plan.keep]
    seen = 0
    for k, close in enumerate(closes(n).tolist()):
        effects = engine.handle(Sealed(60 * k + 60, {price.node_id: (60 * k, (close,))}))
        told = {effect.node_id: effect.values["value"] for effect in effects}
        column = effects.column()
        assert [math.isnan(value) for value in column] == [node not in told for node in order]
        assert [value for value in column if not math.isnan(value)] == [told[node] for node in order if node in told]
        seen += len(told)
    assert seen


def test_compiled_nodes_that_warm_up_at_different_times():
    check(lambda price: [sma(price.close, 3), sma(price.close, 7), ema(price.close, 5) > sma(price.close, 20)])


def test_nodes_of_a_longer_interval_are_there_when_they_are():
    check(lambda price: [sma(price.close, 3), sma(resample(price.close, "5m"), 2)])


def test_a_user_function_in_between():
    def double(view):
        return {"value": 2.0 * view.latest("price")["close"]}

    check(
        lambda price: [
            Node(input={"price": price}, compute_fn=double, schema={"value": "float64"}),
            sma(price.close, 3),
        ]
    )
