"""Measure every row, QMTL against its peers, in one run: ``run.py [--short] [--only W1] [--json FILE]``."""

from __future__ import annotations

import sys

from cold_start import measure as cold_start
from diff import measure as diff
from fan_out import measure as fan_out
from harness.commands import main
from identity import measure as identity
from idle import measure as idle
from memory import measure as memory
from records import measure as records
from submit import measure as submit
from w1_backtest import W1
from w2_events import W2
from w6_user_function import W6

ROWS = {
    "W1": W1.measure,
    "W2": W2.measure,
    "W6": W6.measure,
    "cold": cold_start,
    "memory": memory,
    "identity": identity,
    "submit": submit,
    "diff": diff,
    "fan-out": fan_out,
    "idle": idle,
    "records": records,
}

if __name__ == "__main__":
    sys.exit(main(ROWS))
