"""Paper trading: the simulated account of one strategy, fed by what a run delivers. Pure.

A target counts on the last price bar that is complete when the target is known. Which one that is, is known for certain
when the next price bar comes: until then the decision of the last bar is tentative, and an order that a later target
takes back is *replaced*. However the deliveries are cut, accounts and fills are those of a back-test, to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from qmtl.interval import FOREVER, Span
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from qmtl.trading.exchange import Exchange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qmtl.trading.costs import Costs

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

#: A fill: bar, deciding bar, symbol, client order id, and what it cost.
FILL = np.dtype(
    [(name, "<i8") for name in ("ts", "decided", "symbol")]
    + [("client_order_id", "V16")]
    + [(name, "<f8") for name in ("quantity", "price", "fee", "slippage")]
)


@dataclass(frozen=True)
class Terms:
    """Which account trades what, and at which cost.

    Attributes
    ----------
    strategy_id, node_id : str
        The strategy, and its trade node.
    interval : int
        Seconds of a target's bucket.
    kind : {"position", "weight"}
        What a target means.
    stream_id : str
        The stream that is traded.
    stream_interval : int
        Seconds of its bars.
    symbols : tuple of str
        What is traded, one name for each column.
    costs : Costs
        Fees, slippage, rounding.
    cash : float
        Money at the start, quote currency.
    span : Span
        Buckets that count; those before warm up.
    """

    strategy_id: str
    node_id: str
    interval: int
    kind: str
    stream_id: str
    stream_interval: int
    symbols: tuple[str, ...]
    costs: Costs
    cash: float
    span: Span = field(default_factory=lambda: Span(0, FOREVER))


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the journal.

    Attributes
    ----------
    client_order_id : str
        Derived from strategy, trade node, bucket of the target and symbol: the same however often it is decided.
    bucket, ts : int
        Buckets of the target and of the price bar that decided, seconds UTC.
    symbol : int
        Index of what is traded.
    quantity : float
        Signed.
    status : {"open", "filled", "replaced"}
    """

    client_order_id: str
    bucket: int
    ts: int
    symbol: int
    quantity: float
    status: str = "open"


@dataclass(frozen=True, slots=True)
class Traded:
    """What an account did.

    Attributes
    ----------
    through : int
        Everything that ends at or before it was known, seconds UTC.
    ts : int64[n]
        Bars, once each and in order.
    equity, cash : float64[n]
    position : float64[n, S]
        All at the close of the bar.
    fills : array of FILL
    orders : tuple of Order
        Those that are new or whose status changed; an order that was decided and filled is there once.
    """

    through: int
    ts: Ints
    equity: Floats
    cash: Floats
    position: Floats
    fills: NDArray[Any]
    orders: tuple[Order, ...]


def client_order_id(strategy_id: str, node_id: str, bucket: int, leg: str) -> str:
    """Return 32 hex characters: who decides the same for the same reason makes the same order.

    Examples
    --------
    >>> client_order_id("s1", "n1", 60, "BTC") == client_order_id("s1", "n1", 60, "BTC")
    True
    """
    return hashlib.sha256(msgspec.json.encode([strategy_id, node_id, bucket, leg])).hexdigest()[:32]


class Paper:
    """See the module.

    Parameters
    ----------
    terms : Terms
        What is traded.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms, symbols = terms, len(terms.symbols)
        self._exchange = Exchange(symbols, kind=terms.kind, costs=terms.costs, initial_cash=terms.cash)
        self._waiting: dict[str, Rows] = {}
        self._through = self._last = NONE
        #: The target of the last bar so far, and its bucket.
        self._target, self._bucket = np.full(symbols, np.nan), NONE
        #: Bucket of the target behind the last certain decision on each symbol.
        self._reasons = np.full(symbols, NONE)
        self._open: dict[str, Order] = {}

    def take(self, delivered: Mapping[str, Rows], through: int) -> Traded:
        """Trade what is complete.

        Parameters
        ----------
        delivered : mapping of node id to Rows
            What was delivered; nodes that are not traded here are passed over.
        through : int
            Everything that ends at or before it has been delivered by now, seconds UTC.
        """
        terms = self.terms
        self._through = max(self._through, through)
        bars = self._ready(terms.stream_id, terms.stream_interval, delivered)
        targets = self._ready(terms.node_id, terms.interval, delivered)
        last = np.array([self._last] if self._last != NONE else [], np.int64)
        ts = np.concatenate([last, bars.ts])
        if not len(ts) or not (len(bars) or len(targets)):
            return self._nothing(())
        target, buckets = self._placed(targets, ts)
        if not len(bars):
            self._target, self._bucket = target[0], int(buckets[0])
            return self._nothing(self._journal([]))
        if len(last):
            self._exchange.decide(self._last, target[0])
            self._remember(last, buckets[:1])
        return self._trade(bars, target[len(last) :], buckets[len(last) :])

    def _ready(self, node_id: str, interval: int, delivered: Mapping[str, Rows]) -> Rows:
        """Return the records of a node that are complete and count; later ones wait."""
        parts = [self._waiting.pop(node_id, _NO_ROWS), delivered.get(node_id, _NO_ROWS)]
        low, high = np.searchsorted(parts[1].ts, [self.terms.span.start, self.terms.span.end])
        parts = [part for part in (parts[0], parts[1].part(int(low), int(high))) if len(part)]
        if not parts:
            return _NO_ROWS
        rows = Rows.joined(parts)
        until = int(np.searchsorted(rows.ts, self._through - interval, side="right"))
        if until < len(rows):
            self._waiting[node_id] = rows.part(until)
        return rows.part(0, until)

    def _placed(self, targets: Rows, ts: Ints) -> tuple[Floats, Ints]:
        """Return the target of each bar and its bucket; NaN and NONE where there is none."""
        target, buckets = np.full((len(ts), len(self.terms.symbols)), np.nan), np.full(len(ts), NONE)
        if self._last != NONE:
            target[0], buckets[0] = self._target, self._bucket
        if len(targets):
            at = np.searchsorted(ts + self.terms.stream_interval, targets.ts + self.terms.interval, side="right") - 1
            known = at >= 0
            target[at[known]] = targets.values[targets.fields.index("value")][known]
            buckets[at[known]] = targets.ts[known]
        return target, buckets

    def _trade(self, bars: Rows, target: Floats, buckets: Ints) -> Traded:
        """Trade bars; what the last one decides is not certain before the next."""
        self._last, self._target, self._bucket = bars.last, target[-1].copy(), int(buckets[-1])
        target[-1] = np.nan
        close = bars.values[bars.fields.index("close")]
        open_ = bars.values[bars.fields.index("open")] if "open" in bars.fields else close
        made = self._exchange.trade(bars.ts, open_, close, target)
        filled = self._filled(made.fills, bars.ts, buckets)
        self._remember(bars.ts, buckets)
        columns = {name: made.fills[name] for name in FILL.names or () if name != "client_order_id"}
        fills = np.empty(len(filled), FILL)
        for name, column in columns.items():
            fills[name] = column
        fills["client_order_id"] = [bytes.fromhex(order.client_order_id) for order in filled]
        orders = self._journal(filled)
        return Traded(self._through, made.ts, made.equity, made.cash, made.position, fills, orders)

    def _nothing(self, orders: tuple[Order, ...]) -> Traded:
        none = np.zeros(0)
        position = np.zeros((0, len(self.terms.symbols)))
        return Traded(self._through, _NO_ROWS.ts, none, none, position, np.zeros(0, FILL), orders)

    # ----------------------------------------------------------------------------- orders

    def _remember(self, ts: Ints, buckets: Ints) -> None:
        """Note the targets behind the decisions that were made on these bars."""
        if buckets.max() == NONE:
            return
        at = np.minimum(ts.searchsorted(self._exchange.decided), len(ts) - 1)
        self._reasons = np.where(ts[at] == self._exchange.decided, buckets[at], self._reasons)

    def _filled(self, fills: Mapping[str, Any], ts: Ints, buckets: Ints) -> list[Order]:
        if not len(fills["ts"]):
            return []
        at = np.minimum(ts.searchsorted(fills["decided"]), len(ts) - 1)
        reasons = np.where(ts[at] == fills["decided"], buckets[at], self._reasons[fills["symbol"]])
        columns = (reasons, fills["decided"], fills["symbol"], fills["quantity"])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [self._order(*row, status="filled") for row in rows]

    def _order(self, bucket: int, decided: int, symbol: int, quantity: float, *, status: str) -> Order:
        terms = self.terms
        name = client_order_id(terms.strategy_id, terms.node_id, bucket, terms.symbols[symbol])
        return Order(name, bucket, decided, symbol, quantity, status)

    def _journal(self, filled: list[Order]) -> tuple[Order, ...]:
        """Return what happened to orders since the last time."""
        still = {}
        for decided, symbol, quantity in self._exchange.orders_after(self._last, self._target):
            reason = self._bucket if decided == self._last else int(self._reasons[symbol])
            order = self._order(reason, decided, symbol, quantity, status="open")
            still[order.client_order_id] = order
        gone = self._open.keys() - still.keys() - {order.client_order_id for order in filled}
        replaced = [replace(order, status="replaced") for name, order in self._open.items() if name in gone]
        new = [order for name, order in still.items() if name not in self._open]
        self._open = still
        return (*filled, *replaced, *new)

    # -------------------------------------------------------------------------- snapshots

    def snapshot(self) -> bytes:
        """Return the whole state; :meth:`restore` goes on with the same bits."""
        return _ENCODER.encode(
            _State(
                exchange=self._exchange.snapshot(),
                waiting={k: _packed(rows) for k, rows in self._waiting.items()},
                through=self._through,
                last=self._last,
                target=self._target.tobytes(),
                bucket=self._bucket,
                reasons=self._reasons.tobytes(),
                orders=list(self._open.values()),
            )
        )

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a snapshot of an account with the same terms."""
        state = _DECODER.decode(snapshot)
        self._exchange.restore(state.exchange)
        self._waiting = {k: _unpacked(*packed) for k, packed in state.waiting.items()}
        self._through, self._last, self._bucket = state.through, state.last, state.bucket
        self._target, self._reasons = np.frombuffer(state.target), np.frombuffer(state.reasons, np.int64)
        self._open = {order.client_order_id: order for order in state.orders}


_NO_ROWS = Rows.none()
#: Buckets, fields, symbols and values of rows.
_Packed = tuple[bytes, tuple[str, ...], int, bytes]


class _State(msgspec.Struct):
    exchange: list[bytes]
    waiting: dict[str, _Packed]
    through: int
    last: int
    target: bytes
    bucket: int
    reasons: bytes
    orders: list[Order]


_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_State)


def _packed(rows: Rows) -> _Packed:
    return rows.ts.tobytes(), rows.fields, rows.values.shape[2], rows.values.tobytes()


def _unpacked(ts: bytes, fields: tuple[str, ...], width: int, values: bytes) -> Rows:
    buckets = np.frombuffer(ts, np.int64)
    return Rows(buckets, fields, np.frombuffer(values).reshape(len(fields), len(buckets), width))
