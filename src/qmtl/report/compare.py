"""Whether two results are the same to the bit, and where they first differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.report.accounts import TABLES
from qmtl.report.payloads import as_text

if TYPE_CHECKING:
    import pandas as pd

    from qmtl.report.result import Result


@dataclass(frozen=True)
class Comparison:
    """Outcome of :func:`compare`.

    Attributes
    ----------
    equal : bool
        Whether every output and every table is equal to the bit.
    first_difference : dict or None
        ``table``, and where it applies ``row``, ``ts``, ``column``, and the two values ``a`` and ``b``.
    """

    equal: bool
    first_difference: dict[str, Any] | None


def compare(a: Result, b: Result) -> Comparison:
    """Compare the outputs and accounts of two results; names, times and provenance of the run do not count."""
    names = sorted(a.outputs)
    if names != sorted(b.outputs):
        only = min(set(a.outputs) ^ set(b.outputs))
        return Comparison(False, {"table": f"outputs/{only}", "a": only in a.outputs, "b": only in b.outputs})
    for name in names:
        if a.node_ids.get(name) != b.node_ids.get(name):
            return Comparison(
                False, {"table": f"node_ids/{name}", "a": a.node_ids.get(name), "b": b.node_ids.get(name)}
            )
    pairs = [(f"outputs/{name}", a.outputs[name], b.outputs[name]) for name in names]
    for table, left, right in [*pairs, *((t, a.accounts.table(t), b.accounts.table(t)) for t in TABLES)]:
        found = _first_difference(left, right)
        if found is not None:
            return Comparison(False, {"table": table, **found})
    return Comparison(True, None)


def _first_difference(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any] | None:
    """Compare tables; columns go by their names, in whatever order they stand."""
    left, right = sorted(map(str, a.columns)), sorted(map(str, b.columns))
    if left != right:
        return {"column": None, "a": left, "b": right}
    rows = min(len(a), len(b))
    firsts = [(_first(a.index.to_numpy()[:rows], b.index.to_numpy()[:rows]), "ts")]
    firsts += [(_first(a[c].to_numpy()[:rows], b[c].to_numpy()[:rows]), c) for c in a.columns]
    row, column = min(firsts, key=lambda found: found[0])
    if row < rows:
        left, right = (t.index[row] if column == "ts" and "ts" not in t else t[column].iloc[row] for t in (a, b))
        return {"row": row, "ts": _ts(a, row), "column": str(column), "a": _plain(left), "b": _plain(right)}
    if len(a) != len(b):
        longer = a if len(a) > len(b) else b
        return {"row": rows, "ts": _ts(longer, rows), "column": None, "a": f"{len(a)} rows", "b": f"{len(b)} rows"}
    return None


def _first(a: Any, b: Any) -> int:
    """Return the first position where two arrays differ in any bit, or their length."""
    if a.dtype == object:
        a, b = (np.array([v if isinstance(v, str) else as_text(v) for v in x], dtype=object) for x in (a, b))
    if a.dtype == b.dtype == np.float64:
        a, b = a.view(np.int64), b.view(np.int64)
    differs = a != b
    return int(np.argmax(differs)) if len(a) and np.any(differs) else len(a)


def _ts(table: pd.DataFrame, row: int) -> int | None:
    if table.index.name == "ts":
        return int(table.index[row])
    return int(table["ts"].iloc[row]) if "ts" in table else None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
