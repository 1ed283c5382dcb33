"""A bar from one real runner to another, against the bare append and read of the same log in the same run.

Kafka keeps its queues between two runs, so each has a tag of its own; and it compiles while it runs, so it is
warmed up, and probed before and after.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.commands import main
from harness.probe import latency
from harness.result import Row, Target, number
from harness.services import Kafka, Program, folder, percentile

RATE = 50.0
SETTLED = 50
#: Topics of the chain: what a bar writes.
NODES = 5
SHARES = {"p50": 0.5, "p99": 0.99}
RATIO, IDLE = 2.0, 2.0
PATIENCE_S = 120.0


class Peer:
    """One ``harness/runner.py``."""

    def __init__(self, role: str, gateway: str, count: int, tag: str) -> None:
        command = [sys.executable, str(Path(__file__).parent / "harness" / "runner.py"), role, gateway]
        self._process = subprocess.Popen(
            [*command, str(count), str(RATE), tag], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def tell(self) -> None:
        """Go on with the next part."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What it has measured."""
        return json.loads(self._line())

    def end(self) -> None:
        """Stop it in order."""
        self.tell()
        self._process.wait(PATIENCE_S)


def measured(gateway: str, count: int) -> dict[str, float]:
    """Return milliseconds at the producer itself and at the subscriber, and what both use while nothing comes."""
    tag = uuid.uuid4().hex  # the queues of an earlier run are still in Kafka
    peers = {role: Peer(role, gateway, count, tag) for role in ("producer", "subscriber")}
    for peer in peers.values():
        peer.tell()
    taken = {role: peer.answer()[SETTLED:] for role, peer in peers.items()}
    for peer in peers.values():
        peer.tell()
    idle = {f"{role} idle %": 100.0 * peer.answer() for role, peer in peers.items()}
    for peer in peers.values():
        peer.end()
    found = {f"{role} {p}": percentile(ms, share) for role, ms in taken.items() for p, share in SHARES.items()}
    return found | idle


def run(broker: str | None, count: int) -> dict[str, float]:
    """Return everything of one stack; both probes use its log before the runners are there and when they are gone."""
    with folder() as data, _stack(data, broker) as gateway:
        url = broker or f"sqlite:///{data}/broker.db"
        before = [latency(url, count // 2, RATE, topics) for topics in (1, NODES)]
        found = measured(gateway, count)
        after = [latency(url, count // 2, RATE, topics) for topics in (1, NODES)]
    bare = {name: [*one, *other] for name, one, other in zip(("probe", "5 topics"), before, after, strict=True)}
    return found | {f"{name} {p}": percentile(ms, share) for name, ms in bare.items() for p, share in SHARES.items()}


@contextmanager
def _stack(data: Path, broker: str | None) -> Iterator[str]:
    named = ["--broker-url", broker] if broker else []
    up = Program("up", ["up", "--port", "{port}", "--data", str(data), "--no-auth", *named])
    up.start()
    try:
        yield up.url
    finally:
        up.close()


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """Both logs in turn; medians of the runs."""
    count = 300 if short else 1_000
    with Kafka() as kafka:
        latency(kafka.url, count // 2, RATE, NODES)  # a broker that begins to compile is nobody's measure
        logs = {"embedded": None, "Kafka": kafka.url}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in logs}
        for _turn in range(repeats):
            for name, broker in logs.items():
                runs[name].append(run(broker, count))
    found = {n: {key: percentile([one[key] for one in all_], 0.5) for key in all_[0]} for n, all_ in runs.items()}
    ratios = {
        name: {p: percentile([one[f"subscriber {p}"] / one[f"probe {p}"] for one in all_], 0.5) for p in SHARES}
        for name, all_ in runs.items()
    }
    parts = [f"{who} {p}" for who in ("probe", "5 topics", "producer", "subscriber") for p in SHARES]
    idle = max(one[f"{role} idle %"] for one in found.values() for role in ("producer", "subscriber"))
    return Row(
        "live-latency",
        "a bar from a feed to a subscriber in another process, ms",
        {"bars": count, "a second": RATE, "runs": repeats},
        ("log", *parts, "x of p50", "x of p99", "producer idle %", "subscriber idle %"),
        [
            (
                name,
                *(number(one[part]) for part in parts),
                *(number(ratios[name][p]) for p in SHARES),
                *(number(one[f"{role} idle %"]) for role in ("producer", "subscriber")),
            )
            for name, one in found.items()
        ],
        [
            *(
                Target(f"{name}, subscriber / bare append and read, {p}", ratios[name][p], RATIO, "x")
                for name in found
                for p in SHARES
            ),
            Target("CPU of an idle runner", idle, IDLE, "%"),
        ],
        detail={"runs": runs},
        notes=(
            "probe: one record in one topic; 5 topics: as many records as a bar writes, to the last of them",
            "from the moment at which a bar is there, the feed's own waking included, to the delivery of it",
            "and of all that is computed from it: four nodes and an account",
        ),
    )


if __name__ == "__main__":
    sys.exit(main({"live-latency": measure}))
