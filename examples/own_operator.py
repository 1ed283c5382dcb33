"""An operator of your own: one decorated step, compiled for back-tests and streams alike, with warm-up and identity."""

from importlib.resources import files

from qmtl.graph.operator import Param, operator
from qmtl.sdk import Runner, Strategy, StreamInput

MINUTES = files("qmtl") / "data" / "BTC-PERP-1m.parquet"


@operator(kind="window", params={"period": Param(int, minimum=2)}, window=lambda p: p["period"])
def efficiency(w, p):
    """Kaufman's efficiency ratio: the net move over the sum of the moves, from 0 to 1."""
    last = w.shape[1] - 1
    path = 0.0
    for k in range(last):
        path += abs(w[0, k + 1] - w[0, k])
    return abs(w[0, last] - w[0, 0]) / path if path > 0.0 else 0.0


class Efficient(Strategy):
    def setup(self) -> None:
        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        self.add_nodes([price, efficiency(price.close, 30, name="efficiency")])


if __name__ == "__main__":
    options = {"start_time": "2022-01-10", "end_time": "2022-01-11", "data": {"price": str(MINUTES)}}
    batch, stream = (Runner.offline(Efficient, engine=engine, **options) for engine in ("batch", "stream"))
    print(batch.outputs["efficiency"].tail(3))
    print("batch equals stream, to the bit:", batch.outputs["efficiency"].equals(stream.outputs["efficiency"]))
