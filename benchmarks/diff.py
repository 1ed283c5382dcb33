"""Diffs: in memory, over gRPC, at fifty a second, by the size of the submission and of the graph."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import time
from pathlib import Path

from harness.commands import main
from harness.result import Row, Target, number
from harness.services import Program, fan, folder, percentile
from qmtl.backends.dag_manager import Access, RemoteDagManager
from qmtl.backends.embedded.blob_store import FolderBlobs
from qmtl.backends.embedded.broker import SqliteBroker
from qmtl.backends.embedded.graph_store import SqliteGraph
from qmtl.dagmanager.service import Parts, Service
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.messages import DiffRequest

SIZES, GRAPHS = (1000, 10_000, 100_000), (1000, 100_000, 1_000_000)
RATE = 50


async def nobody(event: object) -> None:
    """Nobody is told."""


def service(place: Path | str, archive: Path) -> Service:
    """A DAG manager on embedded stores."""
    graph, broker = SqliteGraph(place), SqliteBroker(":memory:")
    return Service(Parts(graph, graph, broker, FolderBlobs(archive), Metrics(), time.time, nobody))


def request(nodes: int, strategy: str, root: str = "price") -> DiffRequest:
    """A strategy of a stream and as many nodes that read it."""
    return DiffRequest(strategy, "dry-run", json.dumps(fan(nodes, root)).encode())


async def timed(manager: Service | RemoteDagManager, asked: DiffRequest, repeats: int) -> tuple[float, float]:
    """Milliseconds of the first diff and the median of the same again."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        await manager.diff(asked)
        taken.append(1000 * (time.perf_counter() - began))
    return taken[0], statistics.median(taken[1:])


async def in_memory(sizes: tuple[int, ...], archive: Path, repeats: int) -> dict[int, tuple[float, float]]:
    """By the size of the submission."""
    found = {}
    for nodes in sizes:
        manager = service(":memory:", archive)
        found[nodes] = await timed(manager, request(nodes, "s-1"), repeats)
        await manager.close()
    return found


async def over_grpc(address: str, repeats: int, seconds: float) -> tuple[float, float]:
    """The median of a thousand known nodes, and the p95 at fifty a second."""
    manager = RemoteDagManager(address, Access())
    asked = request(1000, "s-1")
    _, median = await timed(manager, asked, repeats)
    taken: list[float] = []
    began = time.perf_counter()

    async def one(k: int) -> None:
        await asyncio.sleep(max(0.0, began + k / RATE - time.perf_counter()))
        start = time.perf_counter()
        await manager.diff(request(1000, f"s-{k}"))
        taken.append(1000 * (time.perf_counter() - start))

    await asyncio.gather(*(one(k) for k in range(int(seconds * RATE))))
    await manager.close()
    return median, percentile(taken, 0.95)


def filled(place: Path, nodes: int) -> None:
    """Put nodes that have nothing to do with the submission into a graph."""
    with sqlite3.connect(place) as db:
        rows = ((f"{k:064x}", f"c{k}", f"t{k}") for k in range(nodes))
        db.executemany(
            "INSERT INTO nodes VALUES (?, 'sma', ?, 'x', 'x', NULL, 60, 1, '[]', '[]', 'a', 0)",
            ((node, code) for node, code, _ in rows),
        )
        db.executemany(
            "INSERT INTO queues VALUES (?, ?, '', 'indicator', 60, '[]', 'ready', 's-0', 's-0', 0, NULL)",
            ((f"t{k}", f"{k:064x}") for k in range(nodes)),
        )
        db.executemany("INSERT INTO emissions VALUES (?, '', ?, NULL)", ((f"{k:064x}", f"t{k}") for k in range(nodes)))
    db.close()


async def by_graph(sizes: tuple[int, ...], data: Path, repeats: int) -> dict[int, float]:
    """By the size of the graph: a hundred nodes, new and known, on disk."""
    found = {}
    for nodes in sizes:
        place = data / f"{nodes}.db"
        manager = service(place, data)
        await asyncio.to_thread(filled, place, nodes)
        taken = []
        for k in range(repeats + 2):
            began = time.perf_counter()
            await manager.diff(request(100, f"s-{k}", root=f"root {k}"))
            taken.append(1000 * (time.perf_counter() - began))
        found[nodes] = statistics.median(taken)
        await manager.close()
    return found


def measure(*, short: bool, repeats: int, **_: object) -> Row:
    """Everything in one run."""
    sizes, graphs = (SIZES[:2], GRAPHS[:1]) if short else (SIZES, GRAPHS)
    with folder() as data:
        memory = asyncio.run(in_memory(sizes, data, repeats))
        slopes = asyncio.run(by_graph(graphs, data, repeats))
        arguments = ["dagm", "server", "--port", "{port}", "--http-port", "{second}", "--no-auth", "--data", str(data)]
        with Program("dagm", arguments, ports=2) as dagm:
            remote, tail = asyncio.run(over_grpc(dagm.address, max(5, repeats), 0.5 if short else 5.0))
    lines = [(f"in memory, {n:,} nodes", number(first), number(known)) for n, (first, known) in memory.items()]
    lines += [("gRPC, 1,000 nodes", "-", number(remote)), ("gRPC at 50 a second, p95", "-", number(tail))]
    lines += [(f"graph of {n:,} nodes, 100 new", number(ms), "-") for n, ms in slopes.items()]
    per_node = {n: known / n for n, (_, known) in memory.items()}
    growth = max(per_node.values()) / per_node[sizes[0]]
    return Row(
        "diff",
        "diffs",
        {"runs": repeats},
        ("diff", "all new ms", "all known ms"),
        lines,
        [
            Target("1,000 known nodes in memory", memory[1000][1], 10, "ms"),
            Target("1,000 known nodes over gRPC", remote, 40, "ms"),
            Target("p95 of 1,000 nodes at 50 a second", tail, 80, "ms"),
            Target(f"cost of a node at {sizes[-1]:,} / at 1,000", growth, 1.5, "x"),
        ],
        detail={"memory ms": memory, "grpc ms": remote, "p95 ms": tail, "graph ms": slopes},
    )


if __name__ == "__main__":
    sys.exit(main({"diff": measure}))
