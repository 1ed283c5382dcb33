"""Every example in a docstring runs and prints what it shows."""

from __future__ import annotations

import doctest
from contextlib import chdir
from importlib import import_module
from pathlib import Path

import pytest

from architecture.sources import ROOT, python_files
from qmtl.graph.operator import Operator

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    files = [path for path in python_files("src") if ">>> " in (ROOT / path).read_text()]
    return [".".join(path.relative_to("src").with_suffix("").parts).removesuffix(".__init__") for path in files]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str, tmp_path: Path) -> None:
    module = import_module(name)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=FLAGS)
    examples = finder.find(module, name)
    for label, value in vars(module).items():  # doctest looks for functions and classes only
        if isinstance(value, Operator) and value.step.__module__ == module.__name__:
            examples += finder.find(value.step, label, module)
    with chdir(tmp_path):  # an example may write a file
        for example in examples:
            runner.run(example)
    results = runner.summarize(verbose=False)
    assert results.attempted > 0
    assert results.failed == 0
