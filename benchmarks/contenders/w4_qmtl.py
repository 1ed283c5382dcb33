"""W4 in QMTL, two ways: the engine of the union of all strategies, and the live machine around it.

`engine`: a bar into the stream engine, and every position read from its effects; `machine`: a bar into a runner's
machine, which also keeps what each node emitted, makes a batch of it for the node's topic, and delivers positions.
"""

from __future__ import annotations

import numpy as np
from pace import keep_pace, paced, service
from task import FASTS, OVERBOUGHT, RATE, RSI, SETTLED, SLOWS, bars, variant

from qmtl.engine.plan import Plan
from qmtl.engine.stream import Sealed, StreamEngine
from qmtl.graph.dag import Dag
from qmtl.indicators import ema, rsi, sma
from qmtl.live.machine import Job, Machine
from qmtl.live.rows import Rows
from qmtl.ports.record_log import Entry
from qmtl.sdk import Strategy, StreamInput

MINUTE = 60
Bar = tuple[int, float]


class Pair(Strategy):
    """Long while the fast mean is above the slow one and the market is not overbought."""

    fast: int
    slow: int

    def setup(self) -> None:
        """Build the graph."""
        price = StreamInput(tags=["price"], interval="1m", name="price")
        above = ema(price.close, self.fast) > sma(price.close, self.slow)
        self.add_nodes([price, above & (rsi(price.close, RSI) < OVERBOUGHT)])


def union() -> tuple[Plan, str, list[str]]:
    """Plan of all strategies, and the ids of their stream and of their positions."""
    pairs = [type(f"Pair{k}x{j}", (Pair,), {"fast": k, "slow": j}) for k in FASTS for j in SLOWS]
    built = [pair().build() for pair in pairs]
    positions = [one.roots[-1].node_id for one in built]
    dag = Dag.union([one.dag for one in built])
    (price,) = (stream.node_id for stream in dag.streams)
    return Plan.of(dag, {price: ("close",)}, positions), price, positions


def engine() -> tuple[list[int], int]:
    """Nanoseconds of each bar, and how many bars all strategies were long together."""
    plan, price, _ = union()
    handle, long = StreamEngine(plan).handle, []

    def on_bar(bar: Bar) -> None:
        ts, close = bar
        long.append(sum(handle(Sealed(ts + MINUTE, {price: (ts, (close,))})).column()))

    taken = paced(data, on_bar, RATE)
    return taken[SETTLED:], int(sum(long[SETTLED:]))  # before that, some are NaN


def machine() -> tuple[list[int], int]:
    """The same through a machine that produces every node; what it would append is dropped."""
    plan, price, positions = union()
    topics = {node: node for node in plan.nodes}
    running, long = Machine(Job(plan, topics, frozenset(positions))), []
    running.assign(dict.fromkeys(topics.values(), 1))
    written = {topic: [Entry(k + 1, batch)] for k, (topic, batch) in enumerate(running.outbox)}
    running.take(written, running.wants().reads)

    def on_bar(bar: Bar) -> None:
        ts, close = bar
        running.feed(price, Rows(np.array([ts]), ("close",), np.array([[[close]]])), ts + MINUTE)
        long.append(sum(rows.values[0, 0, 0] for rows in running.step().delivered.values()))
        running.outbox.clear()

    running.outbox.clear()
    taken = paced(data, on_bar, RATE)
    return taken[SETTLED:], int(sum(long[SETTLED:]))


market = bars()
data = list(zip(market.ts.tolist(), market.close.tolist(), strict=True))
ways = {"engine": engine, "machine": machine}
keep_pace(
    ways[variant("engine")],
    lambda made: {"long": made[1]},
    packages=("qmtl", "numba", "numpy"),
    tell=lambda made: service(made[0]),
)
