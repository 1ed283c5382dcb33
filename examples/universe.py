"""Many symbols as one node: each bar, every symbol is ranked against the others."""

import numpy as np
import pandas as pd

from qmtl.sdk import Runner, Strategy, StreamInput
from qmtl.transforms import log_return, rank

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")


class Strongest(Strategy):
    def setup(self) -> None:
        price = StreamInput(tags=["made-up"], interval="1h", symbols=SYMBOLS, name="price")
        self.add_nodes([price, rank(log_return(price.close, 24), name="strength")])


def walk(seed: int, bars: int = 240) -> pd.DataFrame:
    steps = np.random.default_rng(seed).normal(0.0, 0.01, bars)
    return pd.DataFrame({"ts": 3600 * np.arange(bars), "close": 100.0 * np.exp(np.cumsum(steps))})


if __name__ == "__main__":
    histories = {symbol: walk(seed) for seed, symbol in enumerate(SYMBOLS)}
    result = Runner.offline(Strongest, data={"price": histories})
    print(result.outputs["strength"].tail(3))
