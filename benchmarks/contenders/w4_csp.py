"""W4 in csp, in real time: bars pushed by a thread, strategies of C++ nodes, a Python node that reads all positions.

A bar counts from the first node of the cycle that takes it to the last: what csp needs to bring it there from the
thread that pushes is told apart.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import csp
from csp import stats, ts
from csp.impl.pushadapter import PushInputAdapter
from csp.impl.wiring import py_push_adapter_def
from pace import keep_pace, paced, service
from task import FASTS, OVERBOUGHT, RATE, RSI, SETTLED, SLOWS, bars, variant

values = bars().close.tolist()
STEP = "if(ema > sma and rsi < limit, 1, 0)"


class Market(PushInputAdapter):
    """Pushes closes at their pace."""

    def __init__(self, pushed: list[int]) -> None:
        self._pushed = pushed
        self._thread = threading.Thread(target=self._run)

    def start(self, *_: datetime) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._thread.join()

    def _run(self) -> None:
        paced(values, self._push, RATE)

    def _push(self, close: float) -> None:
        self._pushed.append(time.perf_counter_ns())
        self.push_tick(close)


market = py_push_adapter_def("market", Market, ts[float], pushed=object)


@csp.node
def stamped(close: ts[float], began: object) -> ts[float]:
    """Close, and when it came."""
    if csp.ticked(close):
        began.append(time.perf_counter_ns())
        return close


@csp.node
def read(positions: [ts["T"]], pushed: object, ended: object, long: object):  # noqa: ANN201, F821, UP037
    """Read every position, as whoever trades them has to."""
    if csp.ticked(positions):
        long.append(sum(positions.tickedvalues()))
        ended.append(time.perf_counter_ns())
        if len(pushed) == len(values):
            csp.stop_engine()


@csp.graph
def of_nodes(fast: ts[float], slow: ts[float], rsi: ts[float]) -> ts[bool]:
    """Position of one strategy, of the nodes that csp comes with."""
    return csp.and_(fast > slow, rsi < OVERBOUGHT)


@csp.graph
def of_expression(fast: ts[float], slow: ts[float], rsi: ts[float]) -> ts[float]:
    """Position of one strategy, as one expression."""
    return csp.exprtk(STEP, {"ema": fast, "sma": slow, "rsi": rsi}, constants={"limit": OVERBOUGHT})


@csp.graph
def strategies(position: object, pushed: object, began: object, ended: object, long: object):  # noqa: ANN201
    """All strategies; what they share is there once."""
    close = stamped(market(pushed), began)
    change, zero = csp.diff(close, 1), csp.const(0.0)
    gain = stats.ema(csp.max(change, zero), alpha=1.0 / RSI, adjust=False)
    loss = stats.ema(csp.max(-change, zero), alpha=1.0 / RSI, adjust=False)
    rsi = 100.0 * gain / (gain + loss)
    fasts = [stats.ema(close, span=period, adjust=False) for period in FASTS]
    slows = [stats.mean(close, period, 1) for period in SLOWS]
    read([position(fast, slow, rsi) for fast in fasts for slow in slows], pushed, ended, long)


def live() -> dict[str, list[int]]:
    """When each bar was pushed, taken and done, in nanoseconds, and how many strategies were long."""
    made = {name: [] for name in ("pushed", "began", "ended", "long")}
    position, span = ways[variant("nodes")], timedelta(hours=1)
    csp.run(strategies, position, *made.values(), starttime=datetime.now(UTC), endtime=span, realtime=True)
    return made


def told(made: dict[str, list[int]]) -> dict[str, float]:
    """Service times, and those with the way from the thread that pushes."""
    n = len(made["ended"])
    began, pushed = (
        service([end - begin for begin, end in zip(made[since][-n:], made["ended"], strict=True)][SETTLED:])
        for since in ("began", "pushed")
    )
    return began | {f"pushed_{name}": value for name, value in pushed.items()}


ways = {"nodes": of_nodes, "expression": of_expression}
keep_pace(live, lambda made: {"long": sum(made["long"][-len(values) + SETTLED :])}, packages=("csp",), tell=told)
