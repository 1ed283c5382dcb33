"""The public API as its users type it: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

import numpy as np
import pandas as pd

from qmtl.indicators import ema, macd, sma
from qmtl.interval import Span, parse_interval
from qmtl.report.result import Result
from qmtl.sdk import CacheView, Costs, Node, Runner, Strategy, StreamInput, TagQueryNode, WebSocketClient
from qmtl.sdk.handle import Handle
from qmtl.sdk.trade import target_position, target_weight
from qmtl.transforms import crossover, lag, resample


class Typed(Strategy):
    def setup(self) -> None:
        price = StreamInput(tags=["BTC"], interval="1m", name="price", period=30)

        def signal(view: CacheView) -> Mapping[str, float]:
            return {"up": float(np.diff(view.array(price, "close")).mean() > 0.0)}

        up = Node(input=price, compute_fn=signal, name="up", period=5)
        slow = ema(price["close"], 50, name="slow")
        both = (sma(price.close, 20) > slow) & (up["up"] > 0.5)
        query = TagQueryNode(["BTC"], interval="1m", match_mode="all")
        target = target_position(both, price=price, size=2.0, name="target")
        weight = target_weight(crossover(macd(price.close)["macd"], lag(price.close, 2)), price=price, weight=0.5)
        self.add_nodes([price, up, slow, query, target, weight, resample(price, "5m")])

    def define_execution(self) -> None:
        self.set_target("target", costs=Costs(taker_bps=5.0), cash=10_000.0)


def run(frame: pd.DataFrame) -> None:
    result = Runner.backtest(
        Typed, start_time="2022-01-01", end_time=1_643_673_600, data={"price": frame}, engine="stream"
    )
    assert_type(result, Result)
    assert_type(result.node_ids["up"], str)
    assert_type(result.warmup["up"], int)
    assert_type(result.metrics["sharpe"], float)
    many = Runner.backtest([Typed, Typed], data={"price": frame})
    assert_type(many, list[Result])
    assert_type(parse_interval("5m"), int)
    assert_type(Span(0, 60).end, int)
    assert_type(Node(input=StreamInput(tags=["a"], interval=60), compute_fn=len).node_id, str)


async def run_inside_a_loop(frame: pd.DataFrame) -> None:
    result: Result = await Runner.backtest_async(Typed, data={"price": frame})
    result.report("report.html")


async def listen() -> None:
    client = WebSocketClient("http://127.0.0.1:8000", strategy_id="s-1", on_message=print)
    async for event in client.events():
        assert_type(event.type, str)
    await client.close()


def run_live(frame: pd.DataFrame) -> None:
    handle = Runner.dryrun(
        Typed, data={"price": frame}, speed="60x", until_end=True, out="out", metrics_port=0, memory_limit=2_000.0
    )
    assert_type(handle, Handle)
    assert_type(handle.strategy_ids, list[str])
    assert_type(handle.faults, dict[str, str])
    assert_type(handle.resumed_from, int | None)
    assert_type(handle.metrics_url, str | None)
    handle.wait(timeout_s=10.0).report("report.html")
    assert_type(Runner.live([Typed, Typed], data={"price": frame}, speed=2.0), Handle)


async def run_live_inside_a_loop(frame: pd.DataFrame) -> None:
    handle = await Runner.dryrun_async(Typed, data={"price": frame})
    assert_type(handle, Handle)
    await handle.stop_async(timeout_s=4.0)
