"""A runner as a process of its own: real ``Runner.dryrun``, bars of a feed that stamps them, deliveries stamped too.

``runner.py producer|subscriber GATEWAY COUNT RATE TAG``: says ``ready``, begins when it is told ``go``, and prints the
milliseconds of each bar from the moment at which it was there to its delivery; then the share of a core that it uses
while nothing comes, which it is told to measure by one more line. The tag makes queues that nobody else has.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from typing import Any

import numpy as np

from qmtl.frame import Frame
from qmtl.indicators import ema, sma
from qmtl.live.loop import Loop
from qmtl.live.machine import Step
from qmtl.sdk import Runner, Strategy, StreamInput
from qmtl.sdk.trade import target_position
from qmtl.streams.feed import Arrived, Feed

BASE = 1_700_000_000
IDLE_S = 5.0


class Chain(Strategy):
    """Two means and a position."""

    tag = ""

    def setup(self) -> None:
        """Build the graph."""
        price = StreamInput(tags=["price", self.tag], interval="1s", name="price")
        slow = sma(price.close, 20, name="slow")
        position = target_position(ema(price.close, 5) > slow, price=price, size=1.0, name="position")
        self.add_nodes([price, slow, position])

    def define_execution(self) -> None:
        """Trade."""
        self.set_target("position")


class Stamped(Feed):
    """So many bars a second, each with the moment at which it was there."""

    fields = ("at", "close")

    def __init__(self, count: int, rate: float) -> None:
        self._count, self._rate, self.began = count, rate, math.inf

    def arrived(self, after: int, limit: int) -> Arrived:
        """Return bars that are due."""
        now, first = time.monotonic(), max(0, after - BASE + 1)
        due = 0 if now < self.began else min(self._count, int((now - self.began) * self._rate) + 1)
        stop, wait_s = min(first + limit, due), self.began + due / self._rate - now
        wait_s = 1.0 if due == self._count else min(1.0, wait_s)
        if stop <= first:
            return Arrived(through=BASE + first if first else None, wait_s=wait_s)
        at = self.began + np.arange(first, stop) / self._rate
        bars = {"at": at[:, None], "close": 100.0 + np.sin(at)[:, None]}
        return Arrived(Frame(BASE + np.arange(first, stop), bars, 1), BASE + stop, wait_s)


class Watched:
    """Stamps what a loop delivers."""

    def __init__(self, count: int) -> None:
        self.count, self.taken, self.done = count, [0.0] * count, threading.Event()
        self._came: dict[str, dict[int, float]] = {"at": {}, "value": {}}
        deliver = Loop._deliver  # noqa: SLF001  (the moment has no public name)

        def delivered(loop: Loop, step: Step) -> bool:
            answer = deliver(loop, step)
            self._note(step, time.monotonic())
            return answer

        Loop._deliver = delivered  # type: ignore[method-assign]  # noqa: SLF001

    def _note(self, step: Step, now: float) -> None:
        """A bar counts when it and all that was computed from it are there."""
        for rows in step.delivered.values():
            stamps = rows.values[rows.fields.index("at"), :, 0] if "at" in rows.fields else None
            for k, bucket in enumerate(rows.ts.tolist()):
                place = bucket - BASE
                self.taken[place] = max(self.taken[place], now)
                if stamps is not None:
                    self._came["at"][place] = float(stamps[k])
        if len(self._came["at"]) == self.count:
            self.done.set()

    def milliseconds(self) -> list[float]:
        """How long each bar took."""
        return [1e3 * (self.taken[place] - at) for place, at in sorted(self._came["at"].items())]


def main(role: str, gateway: str, count: int, rate: float, tag: str) -> None:
    """Run."""
    Chain.tag = tag
    watched, feed = Watched(count), Stamped(count, rate)
    data: dict[str, Any] = {"price": feed} if role == "producer" else {}
    handle = Runner.dryrun(Chain, data=data, gateway_url=gateway)
    print("ready", flush=True)
    sys.stdin.readline()
    feed.began = time.monotonic() + 0.1
    if not watched.done.wait(30.0 + count / rate):
        raise TimeoutError(f"bars are missing: {handle.status()}")
    time.sleep(0.2)
    print(json.dumps(watched.milliseconds()), flush=True)
    sys.stdin.readline()
    used = time.process_time()
    time.sleep(IDLE_S)
    print(json.dumps((time.process_time() - used) / IDLE_S), flush=True)
    sys.stdin.readline()
    handle.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
