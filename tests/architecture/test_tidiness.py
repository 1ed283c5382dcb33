"""Names that tell the story, nothing half-done, nothing of somebody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from architecture.sources import ROOT, matches, names_of_tests, python_files, texts, tracked

FORBIDDEN_NAMES = {"utils", "util", "common", "core", "base", "helpers", "helper", "manager", "misc"}

# Written so that no pattern finds itself.
LEFTOVERS = r"\b(TO[D]O|FIX[M]E|X[X]X|HAC[K])\b|raise NotImplemente[d]Error|\bplace[h]older\b"
MOCKS = r"unittest[.]mock|\bMagicMock\b|\bmocker\b|monkeypatch[.](setattr|setitem|delattr)"
SLEEPS = r"\btime[.]sleep\(|asyncio[.]sleep\([^0)]"
BROAD_EXCEPT = r"except( \(?(Base)?Exception\b[^:#]*)?:(?!.*#)"
MACHINE = r"(?<![\w.])/(wor[k]|roo[t]|hom[e]|Users|far[m])/\w|[.]librar[y]\b|/tm[p]/\w"
REGISTRY = r"regist[r]y = \"|files[.]pythonhoste[d]|/simpl[e]/?\b|index-ur[l] *=|find-link[s] *="


def test_names_say_what_is_inside() -> None:
    assert [
        str(path) for path in python_files("src", "tests", "benchmarks") if {path.stem, *path.parts} & FORBIDDEN_NAMES
    ] == []


def test_nothing_is_half_done() -> None:
    assert matches(LEFTOVERS, python_files("src", "tests", "benchmarks", "examples")) == []


def test_broad_excepts_give_their_reason() -> None:
    assert matches(BROAD_EXCEPT, python_files("src", "benchmarks")) == []


def test_mocks_are_rare() -> None:
    mocks = matches(MOCKS, python_files("tests"))
    assert len(mocks) <= 2 * len(names_of_tests()) / 100, mocks


def test_tests_do_not_sleep() -> None:
    waiting = Path("tests/stack/waiting.py")  # for other processes, with a deadline
    assert matches(SLEEPS, [path for path in python_files("tests") if path != waiting]) == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    pattern = re.compile(f"{MACHINE}|{REGISTRY}")
    found = [f"{path}: {hit.group()}" for path, text in texts() for hit in pattern.finditer(text)]
    assert found == []


def test_no_lock_file_is_tracked() -> None:
    assert [str(path) for path in tracked() if path.name in {"uv.lock", "pylock.toml", "poetry.lock"}] == []
    ignored = subprocess.run(["git", "check-ignore", "-q", "uv.lock"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_every_package_has_content() -> None:
    rooms = {path.parent for path in python_files("src")}
    empty = [
        str(room) for room in rooms if not any((ROOT / path).read_text().strip() for path in python_files(str(room)))
    ]
    assert empty == []
