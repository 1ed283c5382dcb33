"""Identity of a graph of a thousand nodes: building, ids, and the check of the lowered form."""

from __future__ import annotations

import statistics
import sys
import time

from harness.commands import main
from harness.result import Row, Target, number
from qmtl.graph.dag import Dag
from qmtl.graph.lowering import check_lowering
from qmtl.indicators import sma
from qmtl.sdk import Node, StreamInput

NODES = 1_000


def scaled(k: int) -> Node:
    """A user's node with a closure of its own."""

    def function(view: object) -> float:
        return float(view["price"]) * k  # type: ignore[index]

    price = StreamInput(tags=["price"], interval="1m", name="price")
    return Node(input={"price": price}, compute_fn=function, period=3, name=f"own{k}")


def operators() -> Dag:
    """A chain of library operators."""
    field = StreamInput(tags=["price"], interval="1m", name="price").close
    nodes = []
    for k in range(NODES - 1):
        nodes.append(sma(field, 2 + k % 50))
        field = nodes[-1]["value"]
    return Dag.of(nodes)


def functions() -> Dag:
    """Functions of users, each with another closure."""
    return Dag.of([scaled(k) for k in range(NODES - 1)])


def measure(*, repeats: int, **_: object) -> Row:
    """Time graphs made anew."""
    medians, lines = {}, []
    for name, make in (("operators", operators), ("functions of users", functions)):
        taken = [_timed(make) for _ in range(repeats)]
        medians[name] = statistics.median(build + check for build, check in taken)
        lines.append((name, *(number(statistics.median(part) * 1e3) for part in zip(*taken, strict=True))))
    return Row(
        "identity",
        "identity of a graph",
        {"nodes": NODES, "runs": repeats},
        ("nodes of", "build and ids ms", "lowering ms"),
        lines,
        [Target(f"identity of {NODES:,} {name}", seconds, 0.3, "s") for name, seconds in medians.items()],
        detail={"seconds": medians},
    )


def _timed(make: object) -> tuple[float, float]:
    start = time.perf_counter()
    dag = make()  # type: ignore[operator]
    middle = time.perf_counter()
    check_lowering(dag)
    assert len(dag.nodes) == NODES
    return middle - start, time.perf_counter() - middle


if __name__ == "__main__":
    sys.exit(main({"identity": measure}))
