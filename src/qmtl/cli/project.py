"""``qmtl init``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from qmtl.errors import UsageError, WriteError

_SCAFFOLD = {"strategy.py": "strategy.py", "test_strategy.py": "test_strategy.py", "README.md": "README.md"}
_MINUTES = "BTC-PERP-1m.parquet"


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
