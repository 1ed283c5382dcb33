"""Two strategies on one stream; what they share is computed once."""

from importlib.resources import files

from qmtl.indicators import ema, sma
from qmtl.sdk import Costs, Runner, Strategy, StreamInput
from qmtl.sdk.trade import target_position, target_weight

MINUTES = files("qmtl") / "data" / "BTC-PERP-1m.parquet"


def btc() -> StreamInput:
    return StreamInput(tags=["BTC", "price"], interval="1m", name="price")


class Cross(Strategy):
    """Long one coin while the fast average is above the slow one."""

    def setup(self) -> None:
        price = btc()
        fast, slow = sma(price.close, 60, name="fast"), sma(price.close, 600, name="slow")
        self.add_nodes([price, fast, slow, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self) -> None:
        self.set_target("position", costs=Costs(taker_bps=5.0, slippage_bps=1.0), cash=100_000.0)


class Trend(Strategy):
    """Half of the equity in the coin while the slow average is above an even slower, exponential one."""

    def setup(self) -> None:
        price = btc()
        slow, trend = sma(price.close, 600, name="slow"), ema(price.close, 1200, name="trend")
        self.add_nodes([price, slow, trend, target_weight(slow > trend, price=price, weight=0.5, name="weight")])

    def define_execution(self) -> None:
        self.set_target("weight", costs=Costs(taker_bps=5.0), cash=100_000.0)


if __name__ == "__main__":
    cross, trend = Runner.backtest([Cross, Trend], data={"price": str(MINUTES)})
    shared = set(cross.node_ids.values()) & set(trend.node_ids.values())
    print(f"{len(shared)} of {len({*cross.node_ids.values(), *trend.node_ids.values()})} nodes are shared")
    print(cross.summary())
    print(trend.summary())
