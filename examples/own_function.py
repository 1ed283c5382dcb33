"""A node whose function is plain Python: it sees read-only windows and returns one record."""

from importlib.resources import files

import numpy as np

from qmtl.indicators import sma
from qmtl.sdk import CacheView, Node, Runner, Strategy, StreamInput

MINUTES = files("qmtl") / "data" / "BTC-PERP-1m.parquet"


class Momentum(Strategy):
    def setup(self) -> None:
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price", period=30)
        mean = sma(price.close, 120, name="mean")

        def momentum(view: CacheView) -> dict[str, float]:
            close = view.array("price", "close")  # the last 30 closes, oldest first, no copy
            drift = float(np.diff(np.log(close)).mean())
            return {"drift": drift, "above": float(close[-1] > view.array("mean", "value")[-1])}

        self.add_nodes(
            [price, Node(input={"price": price, "mean": mean}, period=30, compute_fn=momentum, name="momentum")]
        )


if __name__ == "__main__":
    result = Runner.offline(Momentum, start_time="2022-01-10", end_time="2022-01-11", data={"price": str(MINUTES)})
    print(result.outputs["momentum"].tail(3))
    print("warm-up in bars:", result.warmup["momentum"])
