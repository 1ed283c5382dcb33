"""Every example runs as a newcomer runs it: as a file, in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from architecture.sources import ROOT, python_files

EXAMPLES = [str(path) for path in python_files("examples")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs_and_prints(example: str, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    real_data("BTC-PERP-1m.parquet")
    done = subprocess.run(
        [sys.executable, str(ROOT / example)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


def test_every_example_is_listed() -> None:
    index = (ROOT / "examples/README.md").read_text()
    assert [example for example in EXAMPLES if f"({Path(example).name})" not in index] == []
