"""Closed trades: from flat to flat, or to the other side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: What is left of a position after rounding errors: so small a part of the last fill is flat.
_DUST = 1e-9
_TIMES = ("entry_ts", "exit_ts", "symbol")
_VALUES = ("quantity", "entry_price", "exit_price", "pnl", "costs")


def round_trips(fills: Mapping[str, NDArray[Any]], symbols: int) -> dict[str, NDArray[Any]]:
    """Return the closed round trips, in the order of their exits.

    A round trip starts when a position leaves zero and ends when it is zero again or changes sign; a fill
    that changes the sign is divided. Prices are averages weighted by quantity, slippage included.

    Parameters
    ----------
    fills : mapping of str to array[N]
        Those of :class:`qmtl.trading.exchange.Simulation`.
    symbols : int
        How many symbols there are.

    Returns
    -------
    dict of str to array[M]
        ``entry_ts``, ``exit_ts``, ``symbol``, largest signed ``quantity``, ``entry_price``, ``exit_price``,
        ``pnl`` net of fees and slippage, ``costs`` (both), quote currency.

    Examples
    --------
    >>> import numpy as np
    >>> fills = {"ts": np.array([0, 60]), "symbol": np.array([0, 0]), "quantity": np.array([2.0, -2.0]),
    ...          "price": np.array([10.0, 11.0]), "fee": np.array([0.5, 0.5]), "slippage": np.zeros(2)}
    >>> round_trips(fills, 1)["pnl"].tolist()
    [1.0]
    """
    count = len(fills["ts"])
    when, values = np.empty((count, len(_TIMES)), np.int64), np.empty((count, len(_VALUES)))
    columns = (fills["quantity"], fills["price"], fills["fee"], fills["slippage"])
    opened, since = np.zeros((symbols, 7)), np.zeros(symbols, np.int64)
    closed = _close(fills["ts"], np.ascontiguousarray(fills["symbol"]), columns, opened, since, when, values)
    times = {name: when[:closed, k].copy() for k, name in enumerate(_TIMES)}
    return times | {name: values[:closed, k].copy() for k, name in enumerate(_VALUES)}


@njit(cache=True)  # type: ignore[misc, unused-ignore]
def _close(
    ts: Ints,
    symbol: Ints,
    fills: tuple[Floats, Floats, Floats, Floats],
    opened: Floats,
    since: Ints,
    when: Ints,
    values: Floats,
) -> int:
    """Go through fills; ``opened`` is, by symbol: held, bought, bought for, sold, sold for, costs, slippage."""
    quantity, price, fee, slippage = fills
    closed = 0
    for k in range(len(ts)):
        state = opened[symbol[k]]
        left, share = quantity[k], 1.0
        crosses = state[0] * left < 0.0 and abs(left) > abs(state[0]) * (1.0 + _DUST)
        for _ in range(2 if crosses else 1):
            part = -state[0] if crosses and share == 1.0 else left
            if state[0] == 0.0:
                state[:] = 0.0
                since[symbol[k]] = ts[k]
            share = part / quantity[k]
            state[0] += part
            side = 1 if part > 0.0 else 3
            state[side] += abs(part)
            state[side + 1] += abs(part) * price[k]
            state[5] += fee[k] * share
            state[6] += slippage[k] * share
            left -= part
            if abs(state[0]) <= _DUST * abs(part):
                is_long = part < 0.0
                units = max(state[1], state[3])
                bought, sold = state[2] / state[1], state[4] / state[3]
                when[closed, 0], when[closed, 1], when[closed, 2] = since[symbol[k]], ts[k], symbol[k]
                values[closed, 0] = units if is_long else -units
                values[closed, 1] = bought if is_long else sold
                values[closed, 2] = sold if is_long else bought
                values[closed, 3] = state[4] - state[2] - state[5]
                values[closed, 4] = state[5] + state[6]
                closed += 1
                state[0] = 0.0
    return closed
