"""Records between two processes, bare: the embedded log and Kafka, latency and throughput."""

from __future__ import annotations

import sys

from harness.commands import main
from harness.probe import latency, throughput
from harness.result import Row, Target, number
from harness.services import Kafka, folder, percentile

RATE = 100
#: name: records of a batch, batches of an append, records in all
SHAPES = {
    "1 record, 1 batch": (1, 1, 2_000),
    "1 record, 1,024 batches": (1, 1024, 204_800),
    "1,024 records, 1 batch": (1024, 1, 1_024_000),
}


def probed(url: str, count: int, shrink: int) -> dict[str, float]:
    """Return latency in milliseconds, and records a second of each shape."""
    taken = latency(url, count, RATE)
    found = {"p50 ms": percentile(taken, 0.5), "p99 ms": percentile(taken, 0.99)}
    for name, (size, at_once, records) in SHAPES.items():
        found[name] = throughput(url, max(records // shrink, size * at_once), size, at_once)
    return found


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """Both logs in turn; medians of the runs."""
    count, shrink = (100, 20) if short else (1000, 1)
    with folder() as data, Kafka() as kafka:
        urls = {"embedded": f"sqlite:///{data}/records.db", "Kafka": kafka.url}
        runs = {name: [probed(url, count, shrink) for _ in range(repeats)] for name, url in urls.items()}
    found = {
        name: {key: percentile([run[key] for run in taken], 0.5) for key in taken[0]} for name, taken in runs.items()
    }
    return Row(
        "records",
        "bare append and read across two processes",
        {"batches": count, "a second": RATE, "runs": repeats},
        ("log", "p50 ms", "p99 ms", *(f"{shape} /s" for shape in SHAPES)),
        [(name, *(number(value) for value in values.values())) for name, values in found.items()],
        [Target("embedded log, p99", found["embedded"]["p99 ms"], 20.0, "ms")],
        detail=found,
        notes=(
            "latency: from the start of an append, or when it was due if it is late, to the reader; /s: records",
            "writer, reader and Kafka share the cores; Kafka is one broker that leaves flushing to the system",
        ),
    )


if __name__ == "__main__":
    sys.exit(main({"records": measure}))
