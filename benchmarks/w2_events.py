"""W2: bar by bar. ema, rsi and sma make a signal, the signal a position.

`stream` hands the engine one bar at a time and takes the effects; `replay` gives it chunks of bars.
"""

from __future__ import annotations

import sys

from harness.commands import main
from harness.environments import BACKTESTING, CSP, FLOOR, QMTL
from harness.race import Contender
from harness.timed_row import Bound, Race

W2 = Race(
    "W2",
    "events: ema, rsi, sma to signal to position",
    1_000_000,
    [
        Contender("numba loop", FLOOR, "w2_numba.py", "loop"),
        Contender("QMTL replay", QMTL, "w2_qmtl.py", "replay"),
        Contender("QMTL stream", QMTL, "w2_qmtl.py", "unread"),
        Contender("QMTL stream, read", QMTL, "w2_qmtl.py", "stream"),
        Contender("numba call per event", FLOOR, "w2_numba.py", "call"),
        Contender("csp exprtk", CSP, "w2_csp.py", "exprtk"),
        Contender("csp C++ nodes", CSP, "w2_csp.py", "cpp"),
        Contender("csp Python nodes", CSP, "w2_csp.py", "python"),
        Contender("backtesting.py", BACKTESTING, "w2_backtesting.py", bars=100_000),
    ],
    [Bound("QMTL stream", "csp C++ nodes", 1.0), Bound("QMTL replay", None, 0.05)],
    # QMTL says nothing until its recursive means have forgotten their seeds (about 200 bars), which the others
    # do not wait for; the seeds themselves change a handful of bars more.
    tolerance=1e-4,
    slack=400.0,
    notes=(
        "csp pulls its events from an array inside C++; QMTL stream is called from Python once per bar",
        "csp's results stay inside of it, as those of `QMTL stream`; `read`: Python reads the record of each bar",
    ),
)

if __name__ == "__main__":
    sys.exit(main({"W2": W2.measure}))
