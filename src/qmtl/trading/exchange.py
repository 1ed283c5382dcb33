"""The simulated exchange: market orders that fill at the next open.

A target that is known at the close of bar ``i`` becomes an order, and the order fills at the open of the
next bar. What is decided on the last bar stays an open order. Cash and positions are updated fill by fill, so
``equity = cash + Σ position · close`` holds at every bar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from qmtl.trading.costs import Costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: A fill has these columns beside its bars and symbol.
_FILL = ("quantity", "price", "fee", "slippage")
#: Smallest part of a step that still counts as a full one: 0.3 / 0.1 is three steps.
_EPSILON = 1e-9


@dataclass(frozen=True)
class Simulation:
    """Accounts of a simulated strategy, all at the closes of its bars.

    Attributes
    ----------
    ts : int64[T]
        Bucket starts, seconds UTC.
    equity, cash : float64[T]
        Value of the account and its money, costs included, quote currency.
    position : float64[T, S]
        Units held.
    fills : mapping of str to array[N]
        ``ts`` of the bar at whose open it filled, ``decided`` bar, ``symbol`` index, signed ``quantity``,
        ``price`` slippage included, ``fee`` and ``slippage`` in the quote currency, ``order`` id.
    orders : mapping of str to array[M]
        ``id``, ``ts`` of the deciding bar, ``symbol`` index, signed ``quantity``, ``filled`` (False for the orders
        that the last bar decided).
    initial_cash : float
        Money at the start.
    """

    ts: Ints
    equity: Floats
    cash: Floats
    position: Floats
    fills: dict[str, NDArray[Any]]
    orders: dict[str, NDArray[Any]]
    initial_cash: float


class Exchange:
    """Accounts of one strategy that go on from bar to bar; whole or in pieces, the outcome is equal to the bit.

    Parameters
    ----------
    symbols : int
        Symbols S that are traded.
    kind : {"position", "weight"}
        What a target means.
    costs : Costs
        Fees, slippage, rounding.
    initial_cash : float
        Money at the start, quote currency.

    Examples
    --------
    >>> import numpy as np
    >>> column = lambda *v: np.array(v, float)[:, None]
    >>> exchange = Exchange(1, kind="position", costs=Costs(), initial_cash=100.0)
    >>> exchange.trade(np.array([0]), column(10), column(10), column(1)).equity.tolist(), exchange.open_orders
    ([100.0], [(0, 0, 1.0)])
    >>> exchange.trade(np.array([60, 120]), column(11, 12), column(11, 12), column(1, 0)).fills["price"].tolist()
    [11.0]
    """

    def __init__(self, symbols: int, *, kind: str, costs: Costs, initial_cash: float) -> None:
        self._is_weight, self.initial_cash = kind == "weight", initial_cash
        self._fees = (costs.taker_bps * 1e-4, costs.slippage_bps * 1e-4, costs.lot, costs.tick)
        #: Money; then for each symbol units held, order, last price and last target.
        self._money = np.full(1, initial_cash)
        self._held, self._decided = np.zeros(symbols), np.zeros(symbols, np.int64)
        self._pending, self._last, self._seen = (np.full(symbols, np.nan) for _ in range(3))

    def trade(self, ts: Ints, open_: Floats, close: Floats, target: Floats) -> Simulation:
        """Take the next bars; shapes are those of :func:`simulate`. Orders: see fills and :attr:`open_orders`."""
        bars, symbols = close.shape
        # No bar and symbol decides more than once; the columns are cut to what was used.
        room = min(bars * symbols, 2 + int(np.count_nonzero(_changes(target))) + symbols)
        equity, cash, position = np.empty(bars), np.empty(bars), np.empty((bars, symbols))
        where, what = np.empty((room, 3), np.int64), np.empty((room, len(_FILL)))
        filled = _trade(
            np.require(ts, np.int64, ["C", "W"]),
            (_plain(open_), _plain(close)),
            _plain(target),
            self._is_weight,
            self._fees,
            self._state,
            self._decided,
            (equity, cash, position),
            where,
            what,
        )
        fills = _fills(where[:filled], what[:filled])
        return Simulation(ts, equity, cash, position, fills, {}, self.initial_cash)

    def decide(self, bucket: int, target: Floats) -> None:
        """Decide orders at the close of the last bar, whose bucket this is and which was traded without a target."""
        if self._decides(target):
            nothing = np.full((1, len(target)), np.nan)  # no bar comes: nothing fills, and the prices stay
            self.trade(np.array([bucket]), nothing, nothing, target[None])

    def orders_after(self, bucket: int, target: Floats) -> list[tuple[int, int, float]]:
        """Return what :attr:`open_orders` would be after :meth:`decide`; nothing changes."""
        if not self._decides(target):
            return self.open_orders
        before = self.snapshot()
        self.decide(bucket, target)
        found = self.open_orders
        self.restore(before)
        return found

    def _decides(self, target: Floats) -> bool:
        return any(
            not math.isnan(aim) and aim != seen for aim, seen in zip(target.tolist(), self._seen.tolist(), strict=True)
        )

    @property
    def _state(self) -> tuple[Floats, ...]:
        return (self._money, self._held, self._pending, self._last, self._seen)

    @property
    def open_orders(self) -> list[tuple[int, int, float]]:
        """Orders that wait for a bar: bucket of the decision, symbol index, signed quantity."""
        waiting = enumerate(zip(self._decided.tolist(), self._pending.tolist(), strict=True))
        return [(decided, symbol, quantity) for symbol, (decided, quantity) in waiting if not math.isnan(quantity)]

    @property
    def decided(self) -> Ints:
        """Bucket of the last decision on each symbol, int64[S]; 0 before the first."""
        return self._decided

    def snapshot(self) -> list[bytes]:
        """Return the whole state; :meth:`restore` goes on with the same bits."""
        return [part.tobytes() for part in (*self._state, self._decided)]

    def restore(self, snapshot: list[bytes]) -> None:
        """Take over the state of a snapshot."""
        for part, saved in zip((*self._state, self._decided), snapshot, strict=True):
            part[:] = np.frombuffer(saved, part.dtype)


def simulate(
    ts: Ints,
    open_: Floats,
    close: Floats,
    target: Floats,
    *,
    kind: str,
    costs: Costs,
    initial_cash: float,
) -> Simulation:
    """Trade targets over bars.

    Parameters
    ----------
    ts : int64[T]
        Bucket starts, strictly increasing, seconds UTC.
    open_, close : float64[T, S]
        Prices; NaN where a symbol has no bar: it keeps its last price and does not trade.
    target : float64[T, S]
        Wanted units or share of equity, known at the close of its bar; NaN keeps the last target. A weight
        becomes units once, at the close where it changes.
    kind, costs, initial_cash
        Those of :class:`Exchange`.

    Examples
    --------
    >>> import numpy as np
    >>> column = lambda *v: np.array(v, float)[:, None]
    >>> made = simulate(np.array([0, 60, 120]), column(10, 11, 12), column(10, 11, 12), column(1, 1, 0),
    ...                 kind="position", costs=Costs(), initial_cash=100.0)
    >>> made.equity.tolist(), made.fills["price"].tolist(), made.orders["filled"].tolist()
    ([100.0, 100.0, 101.0], [11.0], [True, False])
    """
    exchange = Exchange(close.shape[1], kind=kind, costs=costs, initial_cash=initial_cash)
    made = exchange.trade(ts, open_, close, target)
    return replace(made, orders=orders_of(made.fills, exchange.open_orders))


def _changes(target: Floats) -> NDArray[np.bool_]:
    """Return where an order may be decided: where a target is given that is not that of the bar before."""
    changed = ~np.isnan(target)
    changed[1:] &= target[1:] != target[:-1]
    return changed


def _plain(values: Floats) -> Floats:
    """Return contiguous and writable arrays: one compiled version serves all."""
    return np.require(values, np.float64, ["C", "W"])


@njit(cache=True)  # type: ignore[misc, unused-ignore]
def _steps(quantity: float, step: float) -> float:
    """Round towards zero to a multiple of a step."""
    if step == 0.0:
        return quantity
    return float(np.trunc(quantity / step + np.copysign(_EPSILON, quantity)) * step)


@njit(cache=True)  # type: ignore[misc, unused-ignore]
def _fill_price(price: float, quantity: float, slippage: float, tick: float) -> float:
    """Worse than the open by the slippage, and rounded to the tick against the trader."""
    if quantity > 0:
        worse = price * (1.0 + slippage)
        return worse if tick == 0.0 else float(np.ceil(worse / tick - _EPSILON) * tick)
    worse = price * (1.0 - slippage)
    return worse if tick == 0.0 else float(np.floor(worse / tick + _EPSILON) * tick)


@njit(cache=True)  # type: ignore[misc, unused-ignore]
def _trade(
    ts: Ints,
    prices: tuple[Floats, Floats],
    target: Floats,
    is_weight: bool,
    fees: tuple[float, float, float, float],
    state: tuple[Floats, Floats, Floats, Floats, Floats],
    decided: Ints,
    accounts: tuple[Floats, Floats, Floats],
    where: Ints,
    what: Floats,
) -> int:
    """Run the accounts bar by bar from a state, which is left where it came to; return the number of fills."""
    (open_, close), (equity, cash, position), (taker, slippage, lot, tick) = prices, accounts, fees
    cashbox, held, pending, last, seen = state
    money = cashbox[0]
    bars, symbols = close.shape
    filled = 0
    for t in range(bars):
        for s in range(symbols):
            quantity, price = pending[s], open_[t, s]
            if not (np.isnan(quantity) or np.isnan(price)):
                paid = _fill_price(price, quantity, slippage, tick)
                fee = abs(quantity * paid) * taker
                money -= quantity * paid + fee
                held[s] += quantity
                pending[s] = np.nan
                where[filled, 0], where[filled, 1], where[filled, 2] = ts[t], decided[s], s
                what[filled, 0], what[filled, 1], what[filled, 2] = quantity, paid, fee
                what[filled, 3] = abs(quantity * (paid - price))
                filled += 1
        worth = money
        for s in range(symbols):
            if not np.isnan(close[t, s]):
                last[s] = close[t, s]
            if held[s] != 0.0:
                worth += held[s] * last[s]
            position[t, s] = held[s]
        equity[t], cash[t] = worth, money
        for s in range(symbols):
            aim = target[t, s]
            if np.isnan(aim) or aim == seen[s]:
                continue
            seen[s] = aim
            wanted = aim
            if is_weight:
                wanted = aim * worth / last[s] if last[s] > 0.0 else 0.0
            quantity = _steps(wanted - held[s], lot)
            pending[s] = quantity if quantity != 0.0 else np.nan
            decided[s] = ts[t]
    cashbox[0] = money
    return filled


def _fills(where: Ints, what: Floats) -> dict[str, NDArray[Any]]:
    fills: dict[str, NDArray[Any]] = {name: where[:, k].copy() for k, name in enumerate(("ts", "decided", "symbol"))}
    return fills | {name: what[:, k].copy() for k, name in enumerate(_FILL)} | {"order": np.arange(len(where))}


def orders_of(fills: dict[str, NDArray[Any]], still: list[tuple[int, int, float]]) -> dict[str, NDArray[Any]]:
    """Return orders, those that wait last; an order that was replaced before a bar came is not an order."""
    filled = len(fills["ts"])
    decided, symbols, quantities = zip(*still, strict=True) if still else ((), (), ())
    return {
        "id": np.arange(filled + len(still)),
        "ts": np.concatenate([fills["decided"], np.array(decided, np.int64)]),
        "symbol": np.concatenate([fills["symbol"], np.array(symbols, np.int64)]),
        "quantity": np.concatenate([fills["quantity"], np.array(quantities, np.float64)]),
        "filled": np.arange(filled + len(still)) < filled,
    }
