"""Node outputs as DataFrames, made when somebody looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from qmtl.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from qmtl.engine.batch import Output
    from qmtl.interval import Span


class Outputs(Mapping[str, "pd.DataFrame"]):
    """Name of a node to its records: index ``ts`` (bucket start, seconds UTC), one column a field.

    Buckets without output are absent. A field of a universe has one column for each symbol.

    Parameters
    ----------
    columns : mapping of name to Output
        What the engine computed.
    symbols : mapping of name to symbols, or None
        Names of the symbols of each node; None for a node of one symbol without a name.
    """

    def __init__(self, columns: Mapping[str, Output], symbols: Mapping[str, tuple[str, ...] | None]) -> None:
        self._columns, self._symbols = columns, symbols
        self._frames: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._columns:
            raise unknown_name("node", name, self._columns)
        if name not in self._frames:
            self._frames[name] = to_frame(self._columns[name], self._symbols.get(name))
        return self._frames[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def raw(self, name: str) -> Output:
        """Return the columns without a DataFrame around them."""
        return self._columns[name]


def clip(output: Output, span: Span) -> Output:
    """Return the part of an output whose buckets are in a span."""
    low, high = np.searchsorted(output.ts, [span.start, span.end])
    return output.rows(int(low), int(high))


def to_frame(output: Output, symbols: tuple[str, ...] | None) -> pd.DataFrame:
    """Return an output as a DataFrame."""
    import pandas as pd

    index = pd.Index(output.ts, name="ts", dtype="int64")
    if output.objects:
        return pd.DataFrame({"payload": list(output.objects)}, index=index)
    if symbols is None:
        return pd.DataFrame({name: column[:, 0] for name, column in output.columns.items()}, index=index)
    many = {(name, symbol): column[:, k] for name, column in output.columns.items() for k, symbol in enumerate(symbols)}
    return pd.DataFrame(many, index=index)
