"""The contracts of import-linter, as a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_imports_keep_the_contracts(root: Path) -> None:
    check = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
