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
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeVar

Output = TypeVar("Output")


def keep_pace(
    work: Callable[[], Output], check: Callable[[Output], Mapping[str, Any]], *, packages: tuple[str, ...]
) -> None:
    """Run `work` once to warm up, then once per line of the input, and print one JSON line each time.

    `check` takes what `work` returned and gives the numbers that contenders are compared by; it is not timed.
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
        seconds, _ = _timed(work)
        print(json.dumps({"seconds": seconds}), file=messages)


def _timed(work: Callable[[], Output]) -> tuple[float, Output]:
    gc.collect()
    start = time.perf_counter()
    output = work()
    return time.perf_counter() - start, output


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
