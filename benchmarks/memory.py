"""Memory of a streamed back-test against the number of bars: parts in, records out, nothing gathered."""

from __future__ import annotations

import json
import subprocess
import sys

from harness.commands import main
from harness.result import Row, Target, number

PROGRAM = """
import json, resource, sys
import numpy as np
from qmtl.engine.batch import run_batch
from qmtl.engine.plan import Plan
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.indicators import ema, rsi, sma
from qmtl.sdk import StreamInput

bars, part = int(sys.argv[1]), 50_000
price = StreamInput(tags=["price"], interval="1m", name="price")
position = (ema(price.close, 20) > sma(price.close, 50)) & (rsi(price.close, 14) < 70.0)
plan = Plan.of(Dag.of([position]), {price.node_id: ("close",)}, [position.node_id])
seen = [0]

def parts(count):
    for start in range(0, count, part):
        ts = np.arange(start, min(start + part, count), dtype=np.int64) * 60
        yield Frame(ts, {"close": 100.0 + np.sin(ts / 7000.0).reshape(-1, 1)}, 60)

def sink(executor):
    seen[0] += len(executor.rows(position.node_id)[0])

run_batch(plan, {price.node_id: parts(2 * part)}, sink=sink)
seen[0] = 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run_batch(plan, {price.node_id: parts(bars)}, sink=sink)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"outputs": seen[0], "peak_mb": after / 1024, "grown_mb": (after - before) / 1024}))
"""
LIMIT_MB = 10.0


def measure(*, short: bool, **_: object) -> Row:
    """Run a tenth of the bars and all of them, each in a process of its own."""
    most = 1_000_000 if short else 10_000_000
    found = {bars: _run(bars) for bars in (most // 10, most)}
    few, many = (entry["peak_mb"] for entry in found.values())
    failures = [
        f"{bars:,} bars gave {entry['outputs']:,} outputs"
        for bars, entry in found.items()
        if entry["outputs"] < bars * 0.99
    ]
    return Row(
        "memory",
        "memory of a streamed run against the number of bars",
        {"bars": most},
        ("bars", "peak MB", "grown MB"),
        [(f"{bars:,}", number(e["peak_mb"]), number(e["grown_mb"])) for bars, e in found.items()],
        [Target(f"{most:,} bars need more than a tenth of them by", abs(many - few), LIMIT_MB, "MB")],
        failures,
        {"peak_mb": {str(bars): entry["peak_mb"] for bars, entry in found.items()}},
    )


def _run(bars: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(bars)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main({"memory": measure}))
