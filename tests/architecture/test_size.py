"""Small files, small functions, flat packages."""

from __future__ import annotations

from statistics import median

from architecture.sources import functions, length, python_files

SOURCES = python_files("src")
EVERYTHING = python_files("src", "tests", "benchmarks", "examples")


def test_files_are_small() -> None:
    sizes = {str(path): length(path) for path in SOURCES}
    assert median(sizes.values()) <= 150
    assert {path: size for path, size in sizes.items() if size > 500} == {}


def test_test_and_benchmark_files_are_small_too() -> None:
    assert [(str(path), length(path)) for path in EVERYTHING if length(path) > 500] == []


def test_functions_are_small() -> None:
    found = [function for path in SOURCES for function in functions(path)]
    assert median(function.lines for function in found) <= 10
    assert [function for function in found if function.lines > 50] == []


def test_packages_are_flat() -> None:
    assert [str(path) for path in SOURCES if len(path.relative_to("src").parent.parts) > 3] == []
