"""Recorded bars at full speed through the live loop: node-bars a second, what checkpoints cost, where time goes."""

from __future__ import annotations

import statistics
import sys
import time

from harness.commands import main
from harness.dryruns import PARTS, Times, chain
from harness.prices import parquet
from harness.result import Row, Target, number
from harness.services import Program, folder
from qmtl.sdk import Runner

BARS, SHORT_BARS = 200_000, 10_000
WANTED, SHARE = 100_000, 5.0


def run(gateway: str, bars: int, tag: str) -> tuple[float, Times]:
    """Return node-bars of one run, and the seconds of its loop."""
    times = Times()
    with times.taken():
        handle = Runner.dryrun(
            chain(tag), data={"price": str(parquet(bars))}, gateway_url=gateway, speed="max", until_end=True
        )
        result = handle.wait()
    computed = sum(counts["computed"] for counts in result.provenance["nodes"].values())
    return computed, times


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """Several runs at one stack that is there before, each with queues of its own."""
    bars = SHORT_BARS if short else BARS
    with folder() as data:
        up = Program("up", ["up", "--port", "{port}", "--data", str(data), "--no-auth"])
        up.start()
        run(up.url, SHORT_BARS, "warm")
        runs = [run(up.url, bars, f"r{k}-{time.time_ns()}") for k in range(repeats)]
        up.close()
    rates = [computed / times["the loop"] for computed, times in runs]
    shares = {
        part: statistics.median(100.0 * times.get(part, 0.0) / times["the loop"] for _, times in runs)
        for part, *_ in PARTS
    }
    shares["the rest"] = 100.0 - sum(shares.values())
    beside = statistics.median(100.0 * times["store"] / times["the loop"] for _, times in runs)
    rate = statistics.median(rates)
    return Row(
        "replay",
        "recorded bars at full speed through the live loop, embedded log",
        {"bars": bars, "node-bars": int(runs[0][0]), "runs": repeats},
        ("node-bars a second", *(f"{part} %" for part in shares), "store, beside %"),
        [(number(rate), *(number(share) for share in shares.values()), number(beside))],
        [
            Target(f"{WANTED:,} a second / node-bars a second", WANTED / rate, 1.0, "x"),
            Target("checkpoints in the time of the loop", shares["cut"] + shares["wait for disk"], SHARE, "%"),
        ],
        detail={
            "rates": rates,
            "shares": shares,
            "store, beside": beside,
            "seconds": [dict(times) for _, times in runs],
        },
        notes=(
            "every node has a queue; the stack is another process, and its log is on the disk of both",
            "a thread stores outputs, journal and checkpoint beside the loop, which waits for it at the end",
        ),
    )


if __name__ == "__main__":
    sys.exit(main({"replay": measure}))
