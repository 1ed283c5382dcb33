"""Every example in a docstring runs and prints what it shows."""

from __future__ import annotations

import doctest
from contextlib import chdir
from importlib import import_module
from pathlib import Path

import pytest

from architecture.sources import ROOT, python_files

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    files = [path for path in python_files("src") if ">>> " in (ROOT / path).read_text()]
    return [".".join(path.relative_to("src").with_suffix("").parts).removesuffix(".__init__") for path in files]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str, tmp_path: Path) -> None:
    with chdir(tmp_path):  # an example may write a file
        results = doctest.testmod(import_module(name), optionflags=FLAGS, report=True)
    assert results.attempted > 0
    assert results.failed == 0
