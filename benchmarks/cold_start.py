"""Whole processes: import, a warm back-test of a month of minutes, and the first ever compile."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.commands import main
from harness.environments import ROOT
from harness.result import Row, Target, number

BARS = ROOT / "src" / "qmtl" / "data" / "BTC-PERP-1m.parquet"
IMPORT = ("-c", "import qmtl.sdk")
BARE = ("-c", "pass")
BACKTEST = (
    "-m", "qmtl", "backtest", f"{ROOT / 'examples' / 'moving_averages.py'}:Cross", "--data", f"price={BARS}", "--json",
)  # fmt: skip


def seconds(words: tuple[str, ...], cache: str | None = None) -> float:
    """Wall time of a process; `cache` replaces the folder of compiled kernels."""
    # Bytecode of the libraries is cached, as on every machine where somebody works.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    if cache is not None:
        environment |= {"QMTL_CACHE_DIR": cache, "NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(*, repeats: int, **_: object) -> Row:
    """Time each process `repeats` times, after one that is not counted."""
    lines, medians = [], {}
    for name, words in (("python, nothing", BARE), ("import qmtl.sdk", IMPORT), ("warm back-test", BACKTEST)):
        seconds(words)
        taken = [seconds(words) for _ in range(repeats)]
        medians[name] = statistics.median(taken)
        lines.append((name, number(medians[name]), number(min(taken)), number(max(taken))))
    with tempfile.TemporaryDirectory() as empty:
        first = seconds(BACKTEST, empty)
    lines.append(("first ever back-test", number(first), "", ""))
    return Row(
        "cold",
        "cold start: whole processes",
        {"runs": repeats},
        ("process", "median s", "min s", "max s"),
        lines,
        [
            Target("import qmtl.sdk", medians["import qmtl.sdk"], 0.3, "s"),
            Target("warm back-test of a month of minutes", medians["warm back-test"], 1.5, "s"),
            Target("first ever compile", first - medians["warm back-test"], 15.0, "s"),
        ],
        detail={"seconds": medians | {"first ever back-test": first}},
        notes=(f"bars: {Path(BARS).name}",),
    )


if __name__ == "__main__":
    sys.exit(main({"cold": measure}))
