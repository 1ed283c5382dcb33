"""Functions of users next to, without, and between operators."""

import pytest

from qmtl.indicators import sma
from qmtl.sdk import Node, Runner, Strategy, StreamInput


def last(view):
    return {"value": float(view.array("x", "close")[-1])}


def double(view):
    return {"value": 2.0 * float(view.array("y", "value")[-1])}


def run(build, engine):
    import pandas as pd

    class One(Strategy):
        def setup(self):
            price = StreamInput(tags=["BTC"], interval="1m", name="price")
            self.add_nodes([price, *build(price)])

    bars = pd.DataFrame({"ts": [60 * k for k in range(20)], "close": [float(k) for k in range(20)]})
    return Runner.offline(One, data={"price": bars}, engine=engine).outputs


@pytest.mark.parametrize("engine", ["batch", "stream"])
class TestPlaces:
    def test_alone_on_a_stream(self, engine):
        made = run(lambda p: [Node(input={"x": p}, compute_fn=last, period=3, name="a")], engine)
        assert made["a"]["value"].tolist() == [float(k) for k in range(2, 20)]

    def test_one_behind_the_other(self, engine):
        def build(p):
            first = Node(input={"x": p}, compute_fn=last, period=3, name="a")
            return [first, Node(input={"y": first}, compute_fn=double, period=2, name="b")]

        assert run(build, engine)["b"]["value"].tolist() == [2.0 * k for k in range(3, 20)]

    def test_between_operators(self, engine):
        def build(p):
            mean = sma(p.close, 2)
            own = Node(input={"y": mean}, compute_fn=double, period=1, name="b")
            return [own, sma(own["value"], 2, name="c")]

        made = run(build, engine)
        assert made["b"]["value"].tolist() == [2.0 * k - 1 for k in range(1, 20)]
        assert made["c"]["value"].tolist() == [2.0 * k - 2 for k in range(2, 20)]
