"""``qmtl up``: from start to ready, and what it uses while nothing happens."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from harness.commands import main
from harness.result import Row, Target, number
from harness.services import Program, folder


def used(pid: int) -> float:
    """Seconds of CPU of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """Start it several times; let the last one idle."""
    seconds, starts = 2.0 if short else 20.0, []
    with folder() as data:
        for k in range(repeats):
            up = Program("up", ["up", "--port", "{port}", "--data", str(data / str(k)), "--no-auth"])
            starts.append(up.start())
            if k == repeats - 1:
                time.sleep(1.0)
                assert up.process is not None
                before = used(up.process.pid)
                time.sleep(seconds)
                share = (used(up.process.pid) - before) / seconds
            up.close()
    ready = statistics.median(starts)
    return Row(
        "idle",
        "qmtl up",
        {"runs": repeats},
        ("", "seconds to ready", "CPU % idle"),
        [("qmtl up", number(ready), number(100 * share))],
        [Target("start to ready", ready, 2.0, "s"), Target("idle CPU", 100 * share, 1.0, "%")],
        detail={"ready s": ready, "idle": share},
    )


if __name__ == "__main__":
    sys.exit(main({"idle": measure}))
