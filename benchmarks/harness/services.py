"""Real servers and our own programs, as the tests start them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from stack.documents import chain, fan
from stack.programs import Program
from stack.servers import Kafka, Postgres, Redis

__all__ = ["Kafka", "Postgres", "Program", "Redis", "chain", "fan", "folder", "percentile"]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with TemporaryDirectory() as made:
        yield Path(made)


def percentile(values: list[float], share: float) -> float:
    """The value that a share of all values is not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
