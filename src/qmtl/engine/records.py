"""What a user's function returned, checked and turned into columns."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from qmtl.errors import SchemaMismatchError
from qmtl.graph.node import Node
from qmtl.interval import format_time

#: Fields of a record that was returned as one number.
_VALUE = ("value",)


class Recorder:
    """Fixes the fields of a node at its first record and holds every later one to them.

    Parameters
    ----------
    node : Node
        Whose records; its ``schema``, where given, is checked from the first record on.
    width : int
        Symbols S of the node's inputs: an array of S numbers is one value for each symbol.
    """

    def __init__(self, node: Node, width: int) -> None:
        self.node, self.symbols = node, width
        self.fields: tuple[str, ...] | None = tuple(node.schema) if node.schema else None
        self.width = 0
        self.whole = False

    def record(self, returned: Any, bucket: int) -> Any:
        """Return a row (list of numbers or float64[S] in field order), a whole payload, or None.

        Raises
        ------
        SchemaMismatchError
            Fields or types differ from those of the first record.
        """
        if type(returned) is float and self.width == 1 and self.fields == _VALUE:
            return [returned]  # the usual case, at every bar
        if returned is None:
            return None
        payload = returned if type(returned) is dict else self._plain(returned, bucket)
        if not isinstance(payload, Mapping):
            self._check_kind(True, bucket)
            return payload
        if self.fields is None:
            self.fields = tuple(sorted(payload))
        try:
            row = [payload[name] for name in self.fields]
        except KeyError:
            row = []
        if len(row) != len(payload) or not row:
            raise self._mismatch(f"fields {sorted(payload)}", bucket)
        return self._numbers(row, bucket)

    def _plain(self, returned: Any, bucket: int) -> Any:
        if isinstance(returned, (Real, np.generic)):
            return {"value": returned}
        if type(returned).__name__ == "DataFrame" and len(returned) == 1:
            return {str(name): returned[name].to_numpy()[0] for name in returned.columns}
        if isinstance(returned, Mapping):
            return dict(returned)
        if type(returned).__name__ in ("DataFrame", "Table", "ndarray"):
            return returned
        raise SchemaMismatchError(
            f"node {self.node.label!r} returned a {type(returned).__name__} at {format_time(bucket)}",
            hint="return a mapping of numbers, a number, a DataFrame, an array or None",
        )

    def _numbers(self, row: list[Any], bucket: int) -> list[Any]:
        width = 1
        for k, value in enumerate(row):
            kind = type(value)
            if kind is float:
                continue
            if isinstance(value, np.ndarray) and value.shape == (self.symbols,) and self.symbols > 1:
                width = self.symbols
            elif isinstance(value, (Real, np.number, np.bool_)):
                row[k] = float(value)
            else:
                raise self._mismatch(f"{self.fields and self.fields[k]} = {value!r}", bucket)
        if width != self.width:
            if self.width:
                raise self._mismatch(f"records of {width} symbol(s)", bucket)
            self._check_kind(False, bucket)
            self.width = width
        return row

    def _check_kind(self, whole: bool, bucket: int) -> None:
        if (self.width and whole) or (self.whole and not whole):
            raise self._mismatch("whole frames and records of numbers in turn", bucket)
        self.whole = whole

    def _mismatch(self, got: str, bucket: int) -> SchemaMismatchError:
        expected = "whole frames" if self.whole else f"numbers for the fields {list(self.fields or ())}"
        before = "before, it returned" if self.width or self.whole else "wanted are"
        return SchemaMismatchError(
            f"node {self.node.label!r} returned {got} at {format_time(bucket)}; {before} {expected}",
            hint="return the same fields with numbers at every bar, or None for no output",
        )
