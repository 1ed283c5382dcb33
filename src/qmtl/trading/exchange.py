"""The simulated exchange: market orders that fill at the next open.

A target that is known at the close of bar ``i`` becomes an order, and the order fills at the open of the
next bar. What is decided on the last bar stays an open order. Cash and positions are updated fill by fill, so
``equity = cash + Σ position · close`` holds at every bar.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    >>> made = simulate(np.array([0, 60, 120]), column(10, 11, 12), column(10, 11, 12), column(1, 1, 0),
    ...                 kind="position", costs=Costs(), initial_cash=100.0)
    >>> made.equity.tolist(), made.fills["price"].tolist(), made.orders["filled"].tolist()
    ([100.0, 100.0, 101.0], [11.0], [True, False])
    """
    bars, symbols = close.shape
    # No bar and symbol decides more than once; the columns are cut to what was used.
    room = min(bars * symbols, 2 + int(np.count_nonzero(_changes(target))) + symbols)
    equity, cash, position = np.empty(bars), np.empty(bars), np.empty((bars, symbols))
    where, what = np.empty((room, 3), np.int64), np.empty((room, len(_FILL)))
    fees = (costs.taker_bps * 1e-4, costs.slippage_bps * 1e-4, costs.lot, costs.tick)
    prices = (_plain(open_), _plain(close))
    accounts = (equity, cash, position)
    filled, pending, decided = _trade(
        prices, _plain(target), kind == "weight", fees, initial_cash, accounts, where, what
    )
    return Simulation(ts, *accounts, *_records(ts, where, what, filled, pending, decided), initial_cash)


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
    prices: tuple[Floats, Floats],
    target: Floats,
    is_weight: bool,
    fees: tuple[float, float, float, float],
    money: float,
    accounts: tuple[Floats, Floats, Floats],
    where: Ints,
    what: Floats,
) -> tuple[int, Floats, Ints]:
    """Run the accounts bar by bar; return the number of fills, the orders still open and the bars of their decision."""
    (open_, close), (equity, cash, position), (taker, slippage, lot, tick) = prices, accounts, fees
    bars, symbols = close.shape
    held, pending, decided = np.zeros(symbols), np.full(symbols, np.nan), np.zeros(symbols, np.int64)
    last, seen = np.full(symbols, np.nan), np.full(symbols, np.nan)
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
                where[filled, 0], where[filled, 1], where[filled, 2] = t, decided[s], s
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
            decided[s] = t
    return filled, pending, decided


def _records(
    ts: Ints, where: Ints, what: Floats, filled: int, pending: Floats, decided: Ints
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return fills and orders; an order that was replaced before a bar came is not an order."""
    at, values = where[:filled], what[:filled]
    fills: dict[str, NDArray[Any]] = {"ts": ts[at[:, 0]], "decided": ts[at[:, 1]], "symbol": at[:, 2]}
    fills |= {name: values[:, k].copy() for k, name in enumerate(_FILL)} | {"order": np.arange(filled)}
    still = np.flatnonzero(~np.isnan(pending))
    orders: dict[str, NDArray[Any]] = {
        "id": np.arange(filled + len(still)),
        "ts": np.concatenate([fills["decided"], ts[decided[still]]]),
        "symbol": np.concatenate([at[:, 2], still]),
        "quantity": np.concatenate([values[:, 0], pending[still]]),
        "filled": np.arange(filled + len(still)) < filled,
    }
    return fills, orders
