"""W1 in QMTL: the whole engine, from the strategy class to the result."""

from __future__ import annotations

import pyarrow as pa
from pace import keep_pace
from task import CASH, FAST, FEE, SLOW, bars

from qmtl.indicators import sma
from qmtl.report.result import Result
from qmtl.sdk import Costs, Runner, Strategy, StreamInput
from qmtl.sdk.trade import target_position


class Cross(Strategy):
    """Long one unit while the fast mean is above the slow one."""

    def setup(self) -> None:
        """Build the graph."""
        price = StreamInput(tags=["price"], interval="1m", name="price")
        fast, slow = sma(price.close, FAST), sma(price.close, SLOW)
        self.add_nodes([price, target_position(fast > slow, price=price, size=1.0, name="position")])

    def define_execution(self) -> None:
        """Trade the position."""
        self.set_target("position", costs=Costs(taker_bps=FEE * 1e4), cash=CASH)


def check(result: Result) -> dict[str, float]:
    """Equity at the end, and the fills."""
    return {"equity": float(result.equity["equity"].iloc[-1]), "fills": len(result.fills)}


data = bars()
table = pa.table({name: getattr(data, name) for name in ("ts", "open", "close")})
keep_pace(
    lambda: Runner.backtest(Cross, data={"price": table}),
    check,
    packages=("qmtl", "numba", "numpy"),
)
