"""W1 in QMTL: the whole engine, from the strategy class to the result."""

from __future__ import annotations

from task import FAST, SLOW

from qmtl.indicators import sma
from qmtl.sdk import Strategy, StreamInput
from qmtl.sdk.trade import target_position


class Cross(Strategy):
    """Long one unit while the fast mean is above the slow one."""

    def setup(self) -> None:
        """Build the graph."""
        price = StreamInput(tags=["price"], interval="1m", name="price")
        fast, slow = sma(price.close, FAST, name="fast"), sma(price.close, SLOW, name="slow")
        self.add_nodes([price, fast, slow, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self) -> None:
        """Trade the position."""
        self.set_target("position")
