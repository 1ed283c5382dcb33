"""The two strategies of ``qmtl demo``: they share the stream and the slow average."""

from __future__ import annotations

from qmtl.indicators import ema, rsi, sma
from qmtl.sdk import Costs, Strategy, StreamInput
from qmtl.sdk.trade import target_position, target_weight

_COSTS = Costs(taker_bps=5.0, slippage_bps=1.0)


def _btc() -> StreamInput:
    return StreamInput(tags=["BTC", "price"], interval="1m", name="price")


class Cross(Strategy):
    """Long one coin while the fast average is above the slow one."""

    def setup(self) -> None:
        """Two averages of the close."""
        price = _btc()
        fast, slow = sma(price.close, 240, name="fast"), sma(price.close, 1440, name="slow")
        self.add_nodes([price, fast, slow, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self) -> None:
        """Trade the position."""
        self.set_target("position", costs=_COSTS)


class Trend(Strategy):
    """Half of the equity in the coin while the price trends up and is not overbought."""

    def setup(self) -> None:
        """The slow average that Cross has too, an exponential one, and the relative strength."""
        price = _btc()
        slow, trend = sma(price.close, 1440, name="slow"), ema(price.close, 480, name="trend")
        strength = rsi(price.close, 240, name="strength")
        up = (trend > slow) & (strength < 70.0)
        self.add_nodes([price, slow, trend, strength, target_weight(up, price=price, weight=0.5, name="weight")])

    def define_execution(self) -> None:
        """Trade the weight."""
        self.set_target("weight", costs=_COSTS)


STRATEGIES: list[type[Strategy]] = [Cross, Trend]
