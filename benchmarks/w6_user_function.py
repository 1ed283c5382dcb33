"""W6: a user's Python function, called at every bar with a window of the last 50."""

from __future__ import annotations

import sys

from harness.commands import main
from harness.environments import CSP, FLOOR, PANDAS, QMTL
from harness.race import Contender
from harness.timed_row import Bound, Race

W6 = Race(
    "W6",
    "user function on the last 50 bars",
    200_000,
    [
        Contender("numpy view loop", FLOOR, "w6_numpy.py"),
        Contender("QMTL", QMTL, "w6_qmtl.py"),
        Contender("csp Python node", CSP, "w6_csp.py"),
        Contender("pandas frame per bar", PANDAS, "w6_pandas.py", bars=20_000),
    ],
    [Bound("QMTL", None, 1.5)],
    notes=("QMTL is a whole back-test with one user node: graph, identity and Result included",),
)

if __name__ == "__main__":
    sys.exit(main({"W6": W6.measure}))
