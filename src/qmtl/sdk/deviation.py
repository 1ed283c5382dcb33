"""Where a record and its replay first differ, named: node, bucket, field and both values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.live.paper import Order, Terms, Traded
from qmtl.live.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmtl.engine.plan import PlanNode
    from qmtl.live.run_record import Arrival


@dataclass(frozen=True)
class Deviation:
    """A difference; None stands for what is not there.

    Attributes
    ----------
    bucket : int or None
        Where, seconds UTC.
    field : str
        Name of a value; ``bucket`` where a whole record is missing or too many.
    recorded, replayed : object
        What the run stored, and what its bars give.
    node : str
        Label.
    what : str
        What was compared.
    client_order_id : str
        Of orders and fills.
    order : int
        Place of the node behind its inputs: of two in one bucket the first is the cause.
    """

    bucket: int | None
    field: str
    recorded: Any
    replayed: Any
    node: str = ""
    what: str = "output"
    client_order_id: str = ""
    order: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Earlier is first."""
        return (-1 if self.bucket is None else self.bucket, self.order)

    def told(self) -> dict[str, Any]:
        """Return it as JSON data."""
        made = {
            "node": self.node,
            "bucket": self.bucket,
            "field": self.field,
            "recorded": _plain(self.recorded),
            "replayed": _plain(self.replayed),
            "what": self.what,
        }
        return made | ({"client_order_id": self.client_order_id} if self.client_order_id else {})


def _plain(value: Any) -> Any:
    """Return a value for JSON, which knows neither NaN nor infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def of_rows(recorded: Rows, replayed: Rows, planned: PlanNode, through: int, start: int) -> Deviation | None:
    """Compare records of a node.

    Parameters
    ----------
    recorded, replayed : Rows
        What the run stored, and what its bars give.
    planned : PlanNode
        The node.
    through : int
        What ends at or before it must be there; later records are passed over: what they rest on may not be there.
    start : int
        Records before it only warm up: where the run read them from a queue, their inputs may be older than the record.
    """
    if not len(replayed) or (len(recorded) and recorded.ts[0] < replayed.ts[0]):
        known = start if not len(replayed) else min(start, replayed.first)
        recorded = recorded.part(int(np.searchsorted(recorded.ts, known)))
    if len(recorded) and len(replayed) and sorted(recorded.fields) != sorted(replayed.fields):
        return Deviation(recorded.first, "fields", sorted(recorded.fields), sorted(replayed.fields))
    recorded, replayed = (_until(rows, through - planned.node.interval) for rows in (recorded, replayed))
    return _first(recorded, replayed, planned.symbols)


def _until(rows: Rows, last: int) -> Rows:
    due = rows.ts <= last  # not by bisection: a record that was changed may be out of order
    return rows if due.all() else Rows(rows.ts[due], rows.fields, rows.values[:, due])


def _first(recorded: Rows, replayed: Rows, symbols: tuple[str, ...] | None) -> Deviation | None:
    both = min(len(recorded), len(replayed))
    at = _position(recorded.ts[:both] != replayed.ts[:both])
    found = _of_buckets(recorded.ts[at:], replayed.ts[at:])
    for name in recorded.fields if both else ():
        values = [rows.values[rows.fields.index(name)] for rows in (recorded, replayed)]
        differs = _bits(values[0][:at]) != _bits(values[1][:at])
        row = _position(differs.any(axis=1))
        if row < at:
            at, column = row, _position(differs[row])
            label = name if symbols is None else f"{name}[{symbols[column]}]"
            found = Deviation(
                int(recorded.ts[row]), label, float(values[0][row, column]), float(values[1][row, column])
            )
    return found


def _of_buckets(recorded: NDArray[np.int64], replayed: NDArray[np.int64]) -> Deviation | None:
    """Tell whether the first of these buckets is one too many or one too few."""
    has, due = (int(ts[0]) if len(ts) else None for ts in (recorded, replayed))
    if has is None and due is None:
        return None
    if due is None or (has is not None and has <= due):
        return Deviation(has, "bucket", has, None)
    return Deviation(due, "bucket", None, due)


def _bits(values: Any) -> NDArray[np.int64]:
    return np.ascontiguousarray(values, np.float64).view(np.int64)


def _position(differs: NDArray[np.bool_]) -> int:
    """Return the first position where something differs, or the length."""
    return int(np.argmax(differs)) if differs.any() else len(differs)


def of_arrivals(node: str, bucket: int, arrival: Arrival | None, why: str) -> Deviation:
    """Tell where the order of arrival does not give the recorded bars."""
    told = None if arrival is None else f"{arrival.n} bars from {arrival.first} to {arrival.last}"
    return Deviation(bucket, "arrival", told, f"a bar that {why}", node, "arrival")


def of_account(recorded: Traded, replayed: Traded, terms: Terms) -> Deviation | None:
    """Compare money and positions bar by bar."""
    found = []
    for names, symbols in ((("equity", "cash"), None), (("position",), terms.symbols)):
        left, right = (
            Rows.made(made.ts, {name: getattr(made, name).reshape(len(made.ts), -1) for name in names})
            for made in (recorded, replayed)
        )
        one = _first(left, right, symbols)
        if one is not None:
            found.append(Deviation(one.bucket, one.field, one.recorded, one.replayed, what="account", order=1))
    return min(found, key=lambda one: one.rank, default=None)


def of_fills(recorded: NDArray[Any], replayed: NDArray[Any], terms: Terms) -> Deviation | None:
    """Compare fills in their order."""
    both = min(len(recorded), len(replayed))
    at = next((k for k in range(both) if recorded[k].tobytes() != replayed[k].tobytes()), both)
    if at == both and len(recorded) == len(replayed):
        return None
    left, right = (_fill(fills[at], terms) if at < len(fills) else None for fills in (recorded, replayed))
    return _of_entry(left, right, "fill", "ts")


def of_orders(recorded: tuple[Order, ...], replayed: tuple[Order, ...], terms: Terms) -> Deviation | None:
    """Compare the journal, order by order."""
    left, right = ({order.client_order_id: _order(order, terms) for order in given} for given in (recorded, replayed))
    found = [
        one
        for name in left.keys() | right.keys()
        if (one := _of_entry(left.get(name), right.get(name), "order", "ts")) is not None
    ]
    return min(found, key=lambda one: (one.rank, one.client_order_id), default=None)


def _fill(fill: Any, terms: Terms) -> dict[str, Any]:
    made = {name: fill[name].item() for name in fill.dtype.names if name != "client_order_id"}
    return {"client_order_id": fill["client_order_id"].tobytes().hex(), **made, "symbol": terms.symbols[fill["symbol"]]}


def _order(order: Order, terms: Terms) -> dict[str, Any]:
    made = dict(zip((field.name for field in fields(order)), astuple(order), strict=True))
    return made | {"symbol": terms.symbols[order.symbol]}


def _of_entry(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None, what: str, at: str) -> Deviation | None:
    """Return the first field in which an order or fill differs; one that is not there differs as a whole."""
    given = left or right or {}
    bucket, name = given[at], given["client_order_id"]
    if left is None or right is None:
        return Deviation(bucket, what, left and name, right and name, what=what, client_order_id=name, order=0)
    for key in left:
        if np.array(left[key]).tobytes() != np.array(right[key]).tobytes() or type(left[key]) is not type(right[key]):
            return Deviation(bucket, f"{what}.{key}", left[key], right[key], what=what, client_order_id=name)
    return None


def of_files(found: Mapping[str, Any]) -> Deviation:
    """Tell where the tables of a folder are not what was recorded."""
    node = str(found["table"]).removeprefix("outputs/")
    return Deviation(found.get("ts"), str(found.get("column")), found["a"], found["b"], node, f"file {found['table']}")
