"""What all tests share: real market data, sample bars, and markers by folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["stack.fixtures"]

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"

#: A test gets the marker of each of these words that its path holds.
MARKERS = {
    "unit": ("unit",),
    "golden": ("golden",),
    "identity": ("identity", "fingerprint", "canonical"),
    "determinism": ("determinism",),
    "numeric": ("agreement", "determinism", "operators"),
    "docs": ("docs",),
    "architecture": ("architecture",),
}

# One deadline rules, the one of pytest-timeout: the first example of a test may compile.
settings.register_profile("qmtl", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "qmtl"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(ROOT / "tests").as_posix() if item.path.is_relative_to(ROOT / "tests") else ""
        for marker, words in MARKERS.items():
            if any(word in path for word in words):
                item.add_marker(marker)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what a test counted, besides that it passed."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "told":
                terminalreporter.line(str(value))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Find a file of real market data by name, such as ``"BTC-PERP-1m.parquet"``."""

    def find(name: str) -> Path:
        shipped = Path(str(files("qmtl").joinpath("data", name)))
        return shipped if shipped.is_file() else DATA / name

    return find


@pytest.fixture(scope="session")
def sample_bars() -> Callable[..., dict[str, np.ndarray]]:
    """Make bars of a seeded random walk: ``sample_bars(bars=500, interval=60, start=0, seed=7)`` by column name."""

    def make(bars: int = 500, interval: int = 60, start: int = 1_640_995_200, seed: int = 7) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.001, bars)))
        open_ = np.concatenate(([100.0], close[:-1]))
        spread = np.abs(random.normal(0.0, 0.0005, bars)) * close
        return {
            "ts": start + interval * np.arange(bars, dtype=np.int64),
            "open": open_,
            "high": np.maximum(open_, close) + spread,
            "low": np.minimum(open_, close) - spread,
            "close": close,
            "volume": random.uniform(1.0, 10.0, bars),
        }

    return make
