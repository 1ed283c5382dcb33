"""Measure every row, QMTL against its peers, in one run: ``run.py [--short] [--only W1] [--json FILE]``."""

from __future__ import annotations

import sys

from cold_start import measure as cold_start
from diff import measure as diff
from fan_out import measure as fan_out
from harness.commands import main
from identity import measure as identity
from idle import measure as idle
from live_latency import measure as live_latency
from live_memory import measure as live_memory
from memory import measure as memory
from records import measure as records
from replay import measure as replay
from submit import measure as submit
from w1_backtest import W1
from w2_events import W2
from w4_live import measure as w4_live
from w6_user_function import W6

ROWS = {
    "W1": W1.measure,
    "W2": W2.measure,
    "W4": w4_live,
    "W6": W6.measure,
    "cold": cold_start,
    "memory": memory,
    "identity": identity,
    "submit": submit,
    "diff": diff,
    "fan-out": fan_out,
    "idle": idle,
    "records": records,
    "live-latency": live_latency,
    "replay": replay,
    "live-memory": live_memory,
}

if __name__ == "__main__":
    sys.exit(main(ROWS))
