"""The code base as data: tracked files, functions and their lengths, tests and their mocks."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Function:
    """A function and the lines of its body without its docstring."""

    where: str
    lines: int


@cache
def tracked() -> tuple[Path, ...]:
    """Files under version control that exist, relative to the checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file())


#: Written by a generator; a test compares it with what the generator gives today.
GENERATED = Path("src/qmtl/wire/grpc")


def python_files(*folders: str) -> list[Path]:
    """Python files that people write under folders, whether git knows them yet or not."""
    found = (path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if not path.is_relative_to(GENERATED))


def texts() -> Iterator[tuple[Path, str]]:
    """Tracked text files and what they say."""
    for path in tracked():
        raw = (ROOT / path).read_bytes()
        if b"\0" not in raw[:4096]:
            yield path, raw.decode("utf-8", errors="replace")


def length(path: Path) -> int:
    """Lines of a file."""
    return len((ROOT / path).read_text().splitlines())


def tree(path: Path) -> ast.Module:
    """Syntax tree of a file."""
    return ast.parse((ROOT / path).read_text())


def functions(path: Path) -> list[Function]:
    """Functions and methods of a file, nested ones too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        Function(f"{path}:{node.lineno} {node.name}", _body_lines(node))
        for node in ast.walk(tree(path))
        if isinstance(node, kinds)
    ]


def names_of_tests() -> list[str]:
    """Names of test functions."""
    pattern = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)
    return [name for path in python_files("tests") for name in pattern.findall((ROOT / path).read_text())]


def matches(pattern: str, paths: list[Path]) -> list[str]:
    """Places, as ``file:line text``, where a pattern is found."""
    found = re.compile(pattern)
    return [
        f"{path}:{number} {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), 1)
        if found.search(line)
    ]


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 1
