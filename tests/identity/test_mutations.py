"""The table of mutations, in processes with other hash seeds; golden ids make it hold across Pythons."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from identity.cases import OTHER, REFUSED, SAME

pytestmark = pytest.mark.identity
GOLDEN = Path(__file__).parents[1] / "golden" / "function_ids.json"
PROGRAMS = {
    f"{name} / {side}": text for name, pair in (SAME | OTHER).items() for side, text in zip("ab", pair, strict=True)
} | REFUSED


@cache
def ids(seed: str) -> dict[str, str]:
    script = Path(__file__).with_name("program.py")
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(PROGRAMS),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", SAME)
def test_same_meaning_same_id(name):
    found = ids("0")
    assert found[f"{name} / a"] == found[f"{name} / b"]
    assert len(found[f"{name} / a"]) == 64, found[f"{name} / a"]


@pytest.mark.parametrize("name", OTHER)
def test_other_meaning_other_id(name):
    found = ids("0")
    assert found[f"{name} / a"] != found[f"{name} / b"]
    assert len(found[f"{name} / a"]) == len(found[f"{name} / b"]) == 64, (found[f"{name} / a"], found[f"{name} / b"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_with_a_remedy(name):
    assert ids("0")[name].startswith("refused: "), ids("0")[name]


def test_hash_seed_and_process_do_not_count():
    one, other = ids("0"), ids("4242")
    assert {k: v for k, v in one.items() if k not in REFUSED} == {k: v for k, v in other.items() if k not in REFUSED}


@pytest.mark.golden
def test_ids_are_those_of_every_python_and_of_the_past():
    """A new form of ids needs a new version of the form; ``UPDATE_GOLDEN=1`` writes the file."""
    found = {name: identifier for name, identifier in ids("0").items() if len(identifier) == 64}
    found = {name: i for name, i in found.items() if not any(w in PROGRAMS[name] for w in ("numpy", "numba"))}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())
