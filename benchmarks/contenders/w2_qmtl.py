"""W2 in QMTL, three ways.

`stream`: one sealed bar at a time into the stream engine, and the position read from the effects of each;
`unread`: the same, but nobody looks at the effects; `replay`: the batch driver over chunks of bars.
Strategy, graph, identity and plan are made anew in each run, as csp makes its graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pace import keep_pace
from task import EMA, OVERBOUGHT, RSI, SMA, bars, variant

from qmtl.engine.batch import run_batch
from qmtl.engine.plan import Plan
from qmtl.engine.stream import Sealed, StreamEngine
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.indicators import ema, rsi, sma
from qmtl.sdk import StreamInput

MINUTE = 60


def chain() -> tuple[Plan, str, str]:
    """Plan of the chain, and the ids of its stream and of its position."""
    price = StreamInput(tags=["price"], interval="1m", name="price")
    close = price.close
    position = (ema(close, EMA) > sma(close, SMA)) & (rsi(close, RSI) < OVERBOUGHT)
    return Plan.of(Dag.of([position]), keep=[position.node_id]), price.node_id, position.node_id


def replay() -> int:
    """Bars spent long."""
    plan, price, position = chain()
    (values,) = run_batch(plan, {price: frame})[position].columns.values()
    return int(np.nansum(values))


def stream() -> int:
    """Bars spent long, read bar by bar."""
    engine, long = StreamEngine(chain()[0]), 0
    handle = engine.handle
    for event in events:
        for effect in handle(event):
            long += effect.values["value"] > 0.0
    return long


def unread() -> int:
    """Bars spent long, when only the last effects are read: 0 or 1."""
    engine = StreamEngine(chain()[0])
    handle = engine.handle
    for event in events:
        effects = handle(event)
    return int(effects[0].values["value"])


data = bars()
way = variant("stream")
if way == "replay":
    frame = Frame(data.ts, {"close": data.close.reshape(-1, 1)}, MINUTE)
else:
    stream_id = chain()[1]
    events = [
        Sealed(ts + MINUTE, {stream_id: (ts, (close,))})
        for ts, close in zip(data.ts.tolist(), data.close.tolist(), strict=True)
    ]
ways: dict[str, Callable[[], int]] = {"replay": replay, "stream": stream, "unread": unread}
keep_pace(
    ways[way],
    lambda long: {"last": long} if way == "unread" else {"bars_long": long},
    packages=("qmtl", "numba", "numpy"),
)
