"""W1: back-test of a million one-minute bars. Cross of the means of 20 and 50 closes, fees, equity.

A decision at one close is filled at the next open; all contenders must end with the same equity.
"""

from __future__ import annotations

import sys

from harness.commands import main
from harness.environments import BACKTESTING, CSP, FLOOR, POLARS, QMTL, VECTORBT
from harness.race import Contender
from harness.timed_row import Bound, Race

W1 = Race(
    "W1",
    "back-test, means of 20/50, fees, equity",
    1_000_000,
    [
        Contender("numba floor", FLOOR, "w1_numba.py"),
        Contender("QMTL", QMTL, "w1_qmtl.py"),
        Contender("polars", POLARS, "w1_polars.py"),
        Contender("numpy", FLOOR, "w1_numpy.py"),
        Contender("vectorbt", VECTORBT, "w1_vectorbt.py"),
        Contender("csp", CSP, "w1_csp.py"),
        Contender("backtesting.py", BACKTESTING, "w1_backtesting.py", bars=100_000),
    ],
    [Bound("QMTL", "numba floor", 9.0), Bound("QMTL", "vectorbt", 0.3)],
    notes=(
        "QMTL is the whole: strategy, graph, identity, plan, trading and a Result; numpy and polars give equity only",
    ),
)

if __name__ == "__main__":
    sys.exit(main({"W1": W1.measure}))
