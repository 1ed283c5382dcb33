"""Bars of one stream as columns: what the engine reads and what data sources are turned into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from qmtl.interval import Span


@dataclass(frozen=True, eq=False)
class Frame:
    """Validated bars, oldest first.

    Parameters
    ----------
    ts : int64[T]
        Bucket starts, strictly increasing, multiples of ``interval``, seconds UTC.
    columns : mapping of field to float64[T, S]
        C-contiguous; NaN where a symbol has no bar.
    interval : int
        Seconds of a bucket.
    symbols : tuple of str, optional
        Names along S; None for a stream of one symbol, where S = 1.

    Examples
    --------
    >>> import numpy as np
    >>> bars = Frame(np.array([0, 60]), {"close": np.array([[1.0], [2.0]])}, 60)
    >>> len(bars), bars.fields, bars.to_pandas()["close"].tolist()
    (2, ('close',), [1.0, 2.0])
    """

    ts: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    interval: int
    symbols: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.columns)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which symbols have a bar in which bucket, bool[T, S]: where the close, or else the first field, is known."""
        known = self.columns["close"] if "close" in self.columns else next(iter(self.columns.values()))
        return ~np.isnan(known)

    def slice(self, span: Span) -> Frame:
        """Return the bars whose buckets start in a span; a view, no copy."""
        low, high = np.searchsorted(self.ts, [span.start, span.end])
        return self.rows(int(low), int(high))

    def rows(self, start: int | None, stop: int | None = None) -> Frame:
        """Return the bars at the positions of ``[start, stop)``, counted as in a list; a view, no copy."""
        part = slice(start, stop)
        return Frame(self.ts[part], {k: v[part] for k, v in self.columns.items()}, self.interval, self.symbols)

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame: index ``ts``, a column for each field or, in a universe, for each field and symbol."""
        import pandas as pd

        index = pd.Index(self.ts, name="ts", dtype="int64")
        if self.symbols is None:
            return pd.DataFrame({name: column[:, 0] for name, column in self.columns.items()}, index=index)
        made: dict[Any, Any] = {
            (name, symbol): column[:, k]
            for name, column in self.columns.items()
            for k, symbol in enumerate(self.symbols)
        }
        made_frame = pd.DataFrame(made, index=index)
        made_frame.columns.names = ["field", "symbol"]
        return made_frame

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content, 64 hex characters: equal bars, equal fingerprint."""
        digest = hashlib.sha256(repr((self.interval, self.symbols, sorted(self.columns))).encode())
        digest.update(np.ascontiguousarray(self.ts, dtype="<i8").data)
        for name in sorted(self.columns):
            digest.update(np.ascontiguousarray(self.columns[name], dtype="<f8").data)
        return digest.hexdigest()
