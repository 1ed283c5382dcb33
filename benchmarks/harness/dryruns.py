"""Dry-runs inside of the process that measures: a chain of nodes, and where a loop spends its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qmtl.indicators import ema, rsi, sma
from qmtl.live.keeper import Keeper
from qmtl.live.loop import Loop
from qmtl.live.machine import Machine
from qmtl.live.run_store import RunStore
from qmtl.sdk import Strategy, StreamInput
from qmtl.sdk.trade import target_position

#: What of a loop is timed: name, class, method. A commit is cut by the loop, and written by a thread beside it.
PARTS = (
    ("feeds", Loop, "_ask_feeds"),
    ("compute", Machine, "step"),
    ("append", Loop, "_append"),
    ("read", Loop, "_read"),
    ("accounts", Loop, "_deliver"),
    ("cut", Keeper, "cut"),
    ("wait for disk", Keeper, "written"),
)
BESIDE = (("store", RunStore, "commit"), ("the loop", Loop, "run"))


def chain(tag: str) -> type[Strategy]:
    """Return a strategy of nine nodes whose queues nobody else has."""

    class Chain(Strategy):
        def setup(self) -> None:
            price = StreamInput(tags=["price", tag], interval="1m", name="price")
            above = ema(price.close, 20, name="fast") > sma(price.close, 50, name="slow")
            calm = rsi(price.close, 14, name="rsi") < 70.0
            self.add_nodes([price, target_position(above & calm, price=price, size=1.0, name="position")])

        def define_execution(self) -> None:
            self.set_target("position")

    return Chain


class Times(dict[str, float]):
    """Seconds of each part, of ``the loop`` as a whole, and of ``store``: the thread that writes commits."""

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Time the loops that run meanwhile."""
        kept = [(owner, name, getattr(owner, name)) for _, owner, name in (*PARTS, *BESIDE)]
        try:
            for part, owner, name in (*PARTS, *BESIDE):
                setattr(owner, name, self._timed(part, getattr(owner, name)))
            yield
        finally:
            for owner, name, method in kept:
                setattr(owner, name, method)

    def _timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def timing() -> Iterator[None]:
            began = time.perf_counter()
            try:
                yield
            finally:
                self[part] = self.get(part, 0.0) + time.perf_counter() - began

        def call(*given: Any, **named: Any) -> Any:
            with timing():
                return method(*given, **named)

        async def wait(*given: Any, **named: Any) -> Any:
            with timing():
                return await method(*given, **named)

        return wait if asyncio.iscoroutinefunction(method) else call
