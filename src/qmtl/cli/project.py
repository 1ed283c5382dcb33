"""``qmtl demo`` and ``qmtl init``."""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmtl.cli.options import Json, print_json, say
from qmtl.cli.runs import compilations_told
from qmtl.errors import UsageError, WriteError

if TYPE_CHECKING:
    from qmtl.report.result import Result

_SCAFFOLD = {"strategy.py": "strategy.py", "test_strategy.py": "test_strategy.py", "README.md": "README.md"}
_MINUTES = "BTC-PERP-1m.parquet"


def demo(
    out: Annotated[Path, typer.Option(help="Where results and reports go.")] = Path("qmtl-demo"),
    as_json: Json = False,
) -> None:
    """Back-test two strategies that share nodes over a month of Bitcoin minutes."""
    from qmtl.cli.demonstration import STRATEGIES
    from qmtl.report.compare import compare
    from qmtl.sdk.runner import Runner

    began = time.perf_counter()
    data: dict[str, Any] = {"price": str(files("qmtl") / "data" / _MINUTES)}
    if not as_json:
        say("two strategies, a month of Bitcoin minutes; batch, then bar by bar as a stream …")
    with compilations_told():
        batch = Runner.backtest(STRATEGIES, data=data)
        stream = Runner.backtest(STRATEGIES, data=data, engine="stream")
    equal = all(compare(a, b).equal for a, b in zip(batch, stream, strict=True))
    for result in batch:
        result.save(out / result.strategy)
    told = _demonstrated(batch, out, equal=equal, seconds=time.perf_counter() - began)
    if as_json:
        print_json(told)
    else:
        _print_demo(batch, told)
    if not equal:
        raise typer.Exit(1)


def _demonstrated(results: list[Result], out: Path, *, equal: bool, seconds: float) -> dict[str, Any]:
    from qmtl.report.storage import finite

    graphs = {r.strategy: {node["node_id"] for node in r.graph["nodes"]} for r in results}
    unique = set.union(*graphs.values())
    shared = set.intersection(*graphs.values())
    bars = next(iter(results[0].provenance["data"].values()))["bars"]
    return {
        "nodes": {name: len(ids) for name, ids in graphs.items()},
        "unique_nodes": len(unique),
        "shared_nodes": len(shared),
        "calls_saved": (sum(map(len, graphs.values())) - len(unique)) * bars,
        "bars": bars,
        "metrics": {r.strategy: {name: finite(value) for name, value in r.metrics.items()} for r in results},
        "batch_equals_stream": equal,
        "seconds": round(seconds, 3),
        "report": str(out / results[0].strategy / "report.html"),
        "reports": {r.strategy: str(out / r.strategy / "report.html") for r in results},
    }


def _print_demo(results: list[Result], told: dict[str, Any]) -> None:
    for result in results:
        print(result.summary(), end="\n\n")
    counts = " + ".join(str(count) for count in told["nodes"].values())
    print(
        f"{counts} nodes, {told['unique_nodes']} unique: {told['shared_nodes']} are shared and computed once, "
        f"{told['calls_saved']:,} node-bars saved over {told['bars']:,} bars"
    )
    print(f"batch and stream outputs equal, to the bit: {'yes' if told['batch_equals_stream'] else 'NO'}")
    print(f"{told['seconds']:.1f} s in all; open a report in a browser:")
    for page in told["reports"].values():
        print(f"  {page}")


def init(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")]) -> None:
    """Start a project: a strategy, a test of it, and sample data."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            f"{str(directory)!r} exists and is not empty", hint="give a new directory; nothing was changed"
        )
    source = files("qmtl.cli") / "scaffold"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, target in _SCAFFOLD.items():
            (directory / target).write_bytes((source / f"{name}.txt").read_bytes())
        (directory / "data").mkdir()
        (directory / "data" / _MINUTES).write_bytes((files("qmtl") / "data" / _MINUTES).read_bytes())
    except OSError as error:
        raise WriteError(
            f"cannot write {str(directory)!r}: {error.strerror or error}", hint="check space and rights"
        ) from error
    print(f"made {directory}: a strategy, its test, a month of minutes. Next:")
    print(f"  cd {directory}")
    print(f"  qmtl backtest strategy.py:Cross --data price=data/{_MINUTES} --out result")
    print("  pytest -q")
