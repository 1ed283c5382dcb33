"""The contender's side of the race: warm up, then run once each time the driver says go.

Standard library only, for it runs in every peer's environment. Alone on a terminal
(``python contenders/w1_numpy.py DATA < /dev/null``) it prints the line of the warm-up and stops.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

Output = TypeVar("Output")
Event = TypeVar("Event")


def keep_pace(
    work: Callable[[], Output],
    check: Callable[[Output], Mapping[str, Any]],
    *,
    packages: tuple[str, ...],
    tell: Callable[[Output], Mapping[str, Any]] = lambda _: {},
) -> None:
    """Run `work` once to warm up, then once per line of the input, and print one JSON line each time.

    `check` takes what `work` returned and gives the numbers that contenders are compared by; it is not timed.
    Nor is `tell`, which gives what a turn has measured itself.
    """
    # The libraries under test may print; only the messages belong on the pipe.
    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    before = _peak_mb()
    first_s, output = _timed(work)
    ready = {
        "first_s": first_s,
        "peak_mb": round(_peak_mb() - before, 1),
        "check": check(output),
        "packages": {name: version(name) for name in packages},
    }
    del output
    _timed(work)
    print(json.dumps(ready), file=messages)
    for _ in sys.stdin:
        seconds, output = _timed(work)
        print(json.dumps({"seconds": seconds, **tell(output)}), file=messages)


def paced(events: Iterable[Event], handle: Callable[[Event], object], rate: float) -> list[int]:
    """Hand over so many events a second, asleep in between; return how long each took, nanoseconds."""
    clock, taken, due = time.perf_counter_ns, [], time.perf_counter_ns()
    for event in events:
        due += int(1e9 / rate)
        time.sleep(max(0, due - clock()) / 1e9)
        began = clock()
        handle(event)
        taken.append(clock() - began)
    return taken


def service(taken: Sequence[int]) -> dict[str, float]:
    """Microseconds of the middle event, and of the one in a hundred."""
    ranked = sorted(taken)
    return {"p50_us": ranked[len(ranked) // 2] / 1e3, "p99_us": ranked[int(0.99 * len(ranked))] / 1e3}


def _timed(work: Callable[[], Output]) -> tuple[float, Output]:
    gc.collect()
    start = time.perf_counter()
    output = work()
    return time.perf_counter() - start, output


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
