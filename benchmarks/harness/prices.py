"""The synthetic market that every contender reads: a seeded geometric random walk of minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.environments import CACHE

SEED = 20_220_101
START = 1_640_995_200
"""2022-01-01T00:00:00Z, s."""


def minutes(bars: int) -> Path:
    """Directory with one ``.npy`` per column (`ts`, `open`, `high`, `low`, `close`, `volume`) of `bars` minutes.

    Written once and found again afterwards. The first bars of a longer file are those of a shorter one.
    """
    home = CACHE / "data" / f"minutes-{bars}"
    if not (home / "volume.npy").exists():
        home.mkdir(parents=True, exist_ok=True)
        for name, column in _walk(bars).items():
            scratch = home / f"{name}.partial.npy"
            np.save(scratch, column)
            scratch.replace(home / f"{name}.npy")
    return home


def parquet(bars: int) -> Path:
    """The same minutes as one Parquet file, as a user would have them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    home = minutes(bars)
    path = home / "bars.parquet"
    if not path.exists():
        names = ("ts", "open", "high", "low", "close", "volume")
        scratch = path.with_suffix(".partial")
        pq.write_table(pa.table({name: np.load(home / f"{name}.npy") for name in names}), scratch)
        scratch.replace(path)
    return path


def _walk(bars: int) -> dict[str, np.ndarray]:
    steps, gaps, wicks, sizes = (np.random.default_rng([SEED, stream]) for stream in range(4))
    close = 100.0 * np.exp(np.cumsum(0.0005 * steps.standard_normal(bars)))
    # An open that differs from the last close, so that filling at the wrong one of the two shows in the equity.
    open_ = np.concatenate(([100.0], close[:-1])) * np.exp(0.0001 * gaps.standard_normal(bars))
    wick = np.exp(0.0003 * np.abs(wicks.standard_normal((bars, 2))))
    return {
        "ts": START + 60 * np.arange(bars, dtype=np.int64),
        "open": open_,
        "high": np.maximum(open_, close) * wick[:, 0],
        "low": np.minimum(open_, close) / wick[:, 1],
        "close": close,
        "volume": sizes.lognormal(0.0, 1.0, bars),
    }
