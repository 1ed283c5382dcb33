"""W6 in QMTL: a whole back-test with one user node on a zero-copy window."""

from __future__ import annotations

import pyarrow as pa
from pace import keep_pace
from task import WINDOW, bars, change

from qmtl.sdk import CacheView, Node, Runner, Strategy, StreamInput


def of_window(view: CacheView) -> float:
    """The user's function on the window of closes."""
    return change(view.array("price", "close"))


class Change(Strategy):
    """One user node."""

    def setup(self) -> None:
        """Build the graph."""
        price = StreamInput(tags=["price"], interval="1m", name="price")
        self.add_nodes([price, Node(input={"price": price}, compute_fn=of_window, period=WINDOW, name="change")])


data = bars()
table = pa.table({"ts": data.ts, "close": data.close})
keep_pace(
    lambda: Runner.offline(Change, data={"price": table}),
    lambda result: {"sum": float(sum(result.outputs["change"]["value"]))},
    packages=("qmtl", "numpy"),
)
