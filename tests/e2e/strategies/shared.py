"""Strategies that share a stream and a mean, and each have nodes of their own."""

from __future__ import annotations

from qmtl.indicators import ema, sma
from qmtl.sdk import Node, Strategy, StreamInput
from qmtl.sdk.trade import target_position, target_weight


def spread(view):
    bar = view.latest("price")
    return {"spread": bar["high"] - bar["low"]}


def price_and_mean():
    price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
    return price, sma(price.close, 50, name="mean")


class A(Strategy):
    def setup(self):
        price, mean = price_and_mean()
        fast = sma(price.close, 10, name="fast")
        self.add_nodes([price, mean, fast, target_position(fast > mean, price=price, size=1.0, name="position")])

    def define_execution(self):
        self.set_target("position")


class B(Strategy):
    def setup(self):
        price, mean = price_and_mean()
        trend = ema(price.close, 20, name="trend")
        spreads = Node(input={"price": price}, compute_fn=spread, name="spread", schema={"spread": "float64"})
        weight = target_weight(trend > mean, price=price, weight=0.5, name="weight")
        self.add_nodes([price, mean, trend, spreads, weight])

    def define_execution(self):
        self.set_target("weight")


class Slow(Strategy):
    """Begins with two weeks of minutes."""

    def setup(self):
        price, _ = price_and_mean()
        self.add_nodes([price, sma(price.close, 20_160, name="slow")])


def _one_of_many(number: int) -> type[Strategy]:
    """Return a strategy that adds one mean of its own to what all have."""

    def setup(self: Strategy) -> None:
        price, mean = price_and_mean()
        own = sma(price.close, 51 + number, name="own")
        self.add_nodes([price, mean, own, target_position(own > mean, price=price, size=1.0, name="position")])

    def define_execution(self: Strategy) -> None:
        self.set_target("position")

    return type(f"S{number:02}", (Strategy,), {"setup": setup, "define_execution": define_execution})


globals().update({f"S{number:02}": _one_of_many(number) for number in range(100)})
