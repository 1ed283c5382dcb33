"""Resident memory of a runner, bar after bar: a generated market without an end, at full speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.commands import main
from harness.dryruns import chain
from harness.result import Row, Target, number
from harness.services import Program, folder

MARKS, SHORT_MARKS = (100_000, 300_000, 1_000_000), (10_000, 30_000)
LIMIT_MB = 10.0
START = "2020-01-01"
PATIENCE_S = 900.0


def resident_mb() -> dict[str, float]:
    """Memory of this process: its own, and pages of files, which are those of libraries."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {
        name: int(value.split()[0]) / 1024
        for name, _, value in (line.partition(":") for line in lines)
        if value.endswith("kB")
    }
    return {"own": found["RssAnon"], "files": found["RssFile"] + found["RssShmem"]}


def watch(gateway: str, marks: list[int]) -> None:
    """Print bars and megabytes whenever a mark is passed."""
    from qmtl.sdk import Runner

    data = {"price": f"generate://gbm?seed=1&start={START}"}
    handle = Runner.dryrun(chain("memory"), data=data, gateway_url=gateway, speed="max")
    began = time.monotonic()
    for mark in marks:
        while (done := handle.status()["nodes"]["position"]["computed"]) < mark:
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError(f"{done} bars: {handle.status()}")
            time.sleep(0.02)
        print(json.dumps([done, resident_mb()]), flush=True)
    handle.abandon()
    os._exit(0)  # the result of a million bars is another matter


def measure(*, short: bool, **_: object) -> Row:
    """Watch a runner in a process of its own."""
    marks = SHORT_MARKS if short else MARKS
    with folder() as data:
        up = Program("up", ["up", "--port", "{port}", "--data", str(data), "--no-auth"])
        up.start()
        command = [sys.executable, __file__, "watch", up.url, *map(str, marks)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        up.close()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    total = [sum(mb.values()) for _, mb in found]
    return Row(
        "live-memory",
        "memory of a runner at full speed",
        {"bars": marks[-1], "nodes": 9},
        ("bars", "its own MB", "of files MB", "resident MB"),
        [(f"{bars:,}", number(mb["own"]), number(mb["files"]), number(sum(mb.values()))) for bars, mb in found],
        [Target(f"{marks[-1]:,} bars need more than {marks[0]:,} by", total[-1] - total[0], LIMIT_MB, "MB")],
        detail={"resident_mb": found},
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        watch(sys.argv[2], [int(mark) for mark in sys.argv[3:]])
    else:
        sys.exit(main({"live-memory": measure}))
