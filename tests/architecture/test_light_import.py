"""Importing the SDK loads nothing heavy: it happens in every process, on every command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"numba", "llvmlite", "pandas", "pyarrow", "polars", "exchange_calendars", "rich", "typer", "yaml"}
HEAVY |= {
    "fastapi",
    "uvicorn",
    "grpc",
    "structlog",
    "statemachine",
    "jwt",
    "redis",
    "psycopg",
    "neo4j",
    "confluent_kafka",
}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in memory after a statement, in a fresh process."""
    code = f"{statement}\nimport sys, json; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    "statement", ["import qmtl.sdk", "import qmtl; qmtl.Strategy", "import qmtl.indicators, qmtl.transforms"]
)
def test_the_sdk_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


def test_the_facade_loads_nothing_of_ours() -> None:
    code = "import qmtl, sys; print([m for m in sys.modules if m.startswith('qmtl.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_facade_offers_what_it_lists() -> None:
    import qmtl

    assert [name for name in qmtl.__all__ if not hasattr(qmtl, name)] == []
    with pytest.raises(AttributeError, match="it offers"):
        _ = qmtl.nonsense
