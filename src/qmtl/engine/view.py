"""What a user's function sees: read-only windows of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qmtl.engine.ring import Floats, Ints, Ring
from qmtl.errors import IntervalError, WindowError, unknown_name
from qmtl.graph.expression import Field
from qmtl.graph.node import Node
from qmtl.interval import format_interval, parse_interval


class Slot:
    """One input of a node: its ring, its period and where its window ends now."""

    __slots__ = ("end", "key", "node", "objects", "period", "ring")

    def __init__(self, node: Node, key: str | None, period: int, ring: Ring | None = None, objects: Any = None) -> None:
        self.node, self.key, self.period = node, key, period
        self.ring, self.objects = ring, objects
        self.end = 0


class Bars(Sequence[tuple[int, Any]]):
    """The window of one input as ``(timestamp, payload)`` pairs, oldest first."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def __len__(self) -> int:
        return self._slot.period

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"bar {index} of a window of {size}")
        return _bar(self._slot, index % size)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise WindowError("a window is read-only", hint="return what the node should emit")


class _Intervals(Mapping[int, Bars]):
    """``view[node][interval]``: the one interval of the node."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def __getitem__(self, interval: int | str) -> Bars:
        wanted, own = parse_interval(interval), self._slot.node.interval
        if wanted != own:
            raise IntervalError(
                f"{self._slot.node.label!r} has no bars of {format_interval(wanted)}",
                hint=f'use "{format_interval(own)}"',
            )
        return Bars(self._slot)

    def __iter__(self) -> Iterator[int]:
        return iter((self._slot.node.interval,))

    def __len__(self) -> int:
        return 1


class CacheView:
    """Read-only windows of all inputs of a node, as its function sees them.

    Keys are the node object, its input key, its name or its id. Iteration gives the upstream nodes.

    Examples
    --------
    >>> from qmtl.sdk import NodeCache, StreamInput
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> cache = NodeCache(period=2)
    >>> for ts in (0, 60, 120):
    ...     cache.append(price, 60, ts, {"close": float(ts)})
    >>> view = cache.view()
    >>> view[price][60][-1]
    (120, {'close': 120.0})
    >>> view.array(price, "close")
    array([ 60., 120.])
    """

    __slots__ = ("_fast", "_slots", "bucket", "reads")

    def __init__(self, slots: Sequence[Slot], *, track_access: bool = False) -> None:
        self._slots = tuple(slots)
        self._fast: dict[Any, Any] = {}
        self.bucket = 0
        #: What was read, as (input, field) pairs, where access is tracked.
        self.reads: set[tuple[str, str | None]] | None = set() if track_access else None

    def array(self, node: Any, field: str) -> Floats:
        """Return the window of one field, float64[period] or float64[period, S]; no copy, read-only."""
        found = self._fast.get((node, field))
        if found is None:
            found = self._find_column(node, field)
        base, slot = found
        end = slot.end
        window: Floats = base[end - slot.period : end]
        return window

    def timestamps(self, node: Any) -> Ints:
        """Return the bucket starts of the window, int64[period], seconds UTC."""
        slot = self._slot(node, None)
        if slot.ring is None:
            return np.array([ts for ts, _ in Bars(slot)], np.int64)
        window: Ints = slot.ring.ts[slot.end - slot.period : slot.end]
        return window

    def latest(self, node: Any) -> Any:
        """Return the payload of the newest bar of an input."""
        slot = self._slot(node, None)
        return _bar(slot, slot.period - 1)[1]

    def frame(self, node: Any) -> Any:
        """Return the window as a pandas DataFrame, index ``ts``."""
        import pandas as pd

        slot = self._slot(node, None)
        index = pd.Index(self.timestamps(node).copy(), name="ts")
        return pd.DataFrame({name: self._column(slot, name).copy() for name in self._names(slot)}, index=index)

    def polars(self, node: Any) -> Any:
        """Return the window as a polars DataFrame with a column ``ts``."""
        import polars as pl

        slot = self._slot(node, None)
        return pl.DataFrame(
            {"ts": self.timestamps(node), **{name: self._column(slot, name) for name in self._names(slot)}}
        )

    def arrow(self, node: Any) -> Any:
        """Return the window as an Arrow table with a column ``ts``."""
        import pyarrow as pa

        slot = self._slot(node, None)
        return pa.table({"ts": self.timestamps(node), **{name: self._column(slot, name) for name in self._names(slot)}})

    def __getitem__(self, node: Any) -> Mapping[int, Bars]:
        return _Intervals(self._slot(node, None))

    def __iter__(self) -> Iterator[Node]:
        return (slot.node for slot in self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def __setitem__(self, node: Any, value: Any) -> None:
        raise WindowError("the view is read-only", hint="return what the node should emit")

    def _names(self, slot: Slot) -> tuple[str, ...]:
        if slot.ring is None:
            raise WindowError(f"{slot.node.label!r} emits whole frames, not fields", hint="use view.latest(node)")
        return slot.ring.fields

    def _column(self, slot: Slot, name: str) -> Floats:
        assert slot.ring is not None  # _names looked
        return slot.ring.columns[name][slot.end - slot.period : slot.end]

    def _find_column(self, node: Any, field: str) -> tuple[Floats, Slot]:
        slot = self._slot(node, field)
        names = self._names(slot)
        if field not in names:
            raise unknown_name(f"field of {slot.node.label}", str(field), names)
        assert slot.ring is not None  # _names looked
        found = (slot.ring.columns[field], slot)
        self._fast[node, field] = found
        return found

    def _slot(self, node: Any, field: str | None) -> Slot:
        wanted = node.node if isinstance(node, Field) else node
        for slot in self._slots:
            if slot.node is wanted or (
                isinstance(wanted, str) and wanted in (slot.key, slot.node.name, slot.node.node_id)
            ):
                break
        else:
            slot = self._equal(wanted)
        if self.reads is not None:
            self.reads.add((slot.key or slot.node.label, field))
        return slot

    def _equal(self, wanted: Any) -> Slot:
        """Find an input with the same content: identical definitions are one node."""
        if isinstance(wanted, Node):
            for slot in self._slots:
                if slot.node.node_id == wanted.node_id:
                    return slot
        name = wanted.label if isinstance(wanted, Node) else str(wanted)
        raise unknown_name("input", name, [slot.key or slot.node.label for slot in self._slots])

    def as_xarray(self) -> Any:
        """Return all windows as one labelled tensor C[upstream, interval, period slot, field].

        Raises
        ------
        ImportError
            xarray is not installed.
        """
        from qmtl.engine.tensor import labelled_tensor

        return labelled_tensor(self._slots)


def _bar(slot: Slot, index: int) -> tuple[int, Any]:
    """Return one bar of a window, counted from its oldest."""
    at = slot.end - slot.period + index
    if slot.ring is None:
        return slot.objects.items[at]  # type: ignore[no-any-return]
    ring = slot.ring
    if ring.width == 1:
        payload: dict[str, Any] = {name: float(column[at]) for name, column in ring.columns.items()}
    else:
        payload = {name: column[at] for name, column in ring.columns.items()}
    return int(ring.ts[at]), payload
