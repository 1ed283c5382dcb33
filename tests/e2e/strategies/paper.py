"""Strategies that trade on paper: one symbol, several, several intervals, a function of the user's, none."""

from qmtl.indicators import ema, sma
from qmtl.sdk import Costs, Node, Strategy, StreamInput
from qmtl.sdk.trade import target_position, target_weight

COSTS = Costs(taker_bps=5, slippage_bps=2, tick=0.01)


class Cross(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        fast, slow = sma(price.close, 3, name="fast"), sma(price.close, 9, name="slow")
        self.add_nodes([price, fast, slow, target_weight(fast > slow, price=price, name="weight")])

    def define_execution(self):
        self.set_target("weight", costs=COSTS)


def spread(view):
    closes = view.array("price", "close")
    return {"value": float(closes[-1] - closes[0])}


class Slow(Strategy):
    """Decides every five minutes on bars of one."""

    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        trend = sma(price.close, 3, interval="5m", name="trend")
        moved = Node(input={"price": price}, compute_fn=spread, period=4, name="moved")
        signal = trend > ema(price.close, 4, interval="5m")
        self.add_nodes([price, trend, moved, target_position(signal, price=price, size=2.0, name="position")])

    def define_execution(self):
        self.set_target("position", costs=COSTS, cash=50_000.0)


class Quiet(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        self.add_nodes([price, sma(price.close, 5, name="mean")])
