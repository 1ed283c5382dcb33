"""Strategies whose nodes read each other, so that a repair of a bar has some way to go; they share all but the last."""

from __future__ import annotations

from qmtl.indicators import sma
from qmtl.sdk import Node, Strategy, StreamInput
from qmtl.sdk.trade import target_position


def far(view):
    """Emits where prices are far apart: a repair may take it back."""
    fast, slow = view.latest("fast")["value"], view.latest("slow")["value"]
    return {"value": fast - slow} if abs(fast / slow - 1) > 0.001 else None


def nodes():
    price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
    fast, slow = sma(price.close, 10, name="fast"), sma(price.close, 30, name="slow")
    apart = Node(input={"fast": fast, "slow": slow}, compute_fn=far, name="apart", schema={"value": "float64"})
    return price, fast, slow, apart


class A(Strategy):
    def setup(self):
        price, fast, slow, apart = nodes()
        self.add_nodes([price, fast, slow, apart, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self):
        self.set_target("position")


class B(Strategy):
    def setup(self):
        price, fast, slow, apart = nodes()
        trend = sma(slow, 5, name="trend")
        self.add_nodes(
            [price, fast, slow, apart, trend, target_position(fast > trend, price=price, size=2.0, name="position")]
        )

    def define_execution(self):
        self.set_target("position")
