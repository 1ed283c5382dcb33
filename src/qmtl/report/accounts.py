"""Accounts of a traded run as tables, made when somebody looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qmtl.calendars import Calendar
from qmtl.frame import Frame
from qmtl.report.metrics import Account, Metrics, compute, drawdowns

if TYPE_CHECKING:
    import pandas as pd

    from qmtl.trading.exchange import Simulation

#: Tables that every traded run has.
TABLES = ("equity", "positions", "orders", "fills", "trades", "prices")
_COLUMNS = {
    "equity": ["equity", "cash", "drawdown"],
    "positions": [],
    "orders": ["id", "ts", "symbol", "side", "quantity", "status"],
    "fills": ["ts", "decided", "order", "symbol", "side", "quantity", "price", "fee", "slippage"],
    "trades": ["symbol", "side", "entry_ts", "exit_ts", "quantity", "entry_price", "exit_price", "pnl", "costs"],
    "prices": [],
}


class Accounts(Protocol):
    """Tables and measures of a traded run, computed or read from files."""

    @property
    def metrics(self) -> Metrics:
        """Measures with their basis."""

    def table(self, name: str) -> pd.DataFrame:
        """Return one of :data:`TABLES`."""


@dataclass(frozen=True)
class NoAccounts:
    """A run that traded nothing: empty tables of the usual columns."""

    metrics: Metrics

    def table(self, name: str) -> pd.DataFrame:
        """Return an empty table."""
        return _empty(name)


@dataclass(frozen=True)
class StoredAccounts:
    """Accounts read from files."""

    tables: dict[str, Any]
    metrics: Metrics

    def table(self, name: str) -> pd.DataFrame:
        """Return a table."""
        found: pd.DataFrame = self.tables[name]
        return found


def _empty(name: str) -> pd.DataFrame:
    import pandas as pd

    index = pd.Index([], name="ts", dtype="int64") if name in ("equity", "positions", "prices") else None
    return pd.DataFrame({column: [] for column in _COLUMNS[name]}, index=index)


@dataclass(frozen=True)
class Traded:
    """Accounts straight from the simulated exchange.

    Attributes
    ----------
    bars : Frame
        What was traded.
    simulation : Simulation
        What the exchange did.
    calendar : Calendar
        Basis of the measures.
    name : str
        What a stream of one symbol is called in the tables.
    """

    bars: Frame
    simulation: Simulation
    calendar: Calendar
    name: str

    def table(self, name: str) -> pd.DataFrame:
        """Return one of :data:`TABLES`."""
        made: pd.DataFrame = getattr(self, f"_{name}")
        return made

    @cached_property
    def metrics(self) -> Metrics:
        """Measures with their basis."""
        made, fills = self.simulation, self.simulation.fills
        last = _carried(self.bars.columns["close"])
        value = np.where(made.position == 0.0, 0.0, made.position * last)
        return compute(
            Account(
                ts=made.ts,
                interval=self.bars.interval,
                equity=made.equity,
                gross=np.abs(value).sum(axis=1),
                net=value.sum(axis=1),
                benchmark=last[:, 0] if last.shape[1] == 1 else None,
                notional=float(np.abs(fills["quantity"] * fills["price"]).sum()),
                fees=float(fills["fee"].sum()),
                slippage=float(fills["slippage"].sum()),
                pnl=self._round_trips["pnl"],
                trade_costs=self._round_trips["costs"],
                initial_cash=made.initial_cash,
            ),
            self.calendar,
        )

    @cached_property
    def _round_trips(self) -> dict[str, np.ndarray[Any, Any]]:
        from qmtl.trading.round_trips import round_trips

        return round_trips(self.simulation.fills, self.simulation.position.shape[1])

    @cached_property
    def _equity(self) -> pd.DataFrame:
        import pandas as pd

        made = self.simulation
        columns = {"equity": made.equity, "cash": made.cash, "drawdown": drawdowns(made.ts, made.equity)[0]}
        return pd.DataFrame(columns, index=_index(made.ts))

    @cached_property
    def _positions(self) -> pd.DataFrame:
        import pandas as pd

        made = self.simulation
        return pd.DataFrame(dict(zip(self._names, made.position.T, strict=True)), index=_index(made.ts))

    @cached_property
    def _orders(self) -> pd.DataFrame:
        import pandas as pd

        made = self.simulation.orders
        columns = {
            "id": made["id"],
            "ts": made["ts"],
            **self._signed(made),
            "status": np.where(made["filled"], "filled", "open"),
        }
        return pd.DataFrame(columns)

    @cached_property
    def _fills(self) -> pd.DataFrame:
        import pandas as pd

        made = self.simulation.fills
        first = {name: made[name] for name in ("ts", "decided", "order")}
        rest = {name: made[name] for name in ("price", "fee", "slippage")}
        return pd.DataFrame({**first, **self._signed(made), **rest})

    @cached_property
    def _trades(self) -> pd.DataFrame:
        import pandas as pd

        made = self._round_trips
        side = {"symbol": self._names_of(made["symbol"]), "side": np.where(made["quantity"] > 0, "long", "short")}
        rest = {name: made[name] for name in _COLUMNS["trades"] if name not in side}
        return pd.DataFrame({**side, **rest, "quantity": np.abs(made["quantity"])})

    @cached_property
    def _prices(self) -> pd.DataFrame:
        return self.bars.to_pandas()

    @property
    def _names(self) -> tuple[str, ...]:
        return self.bars.symbols or (self.name,)

    def _names_of(self, symbols: Any) -> Any:
        return np.array(self._names, dtype=object)[symbols]

    def _signed(self, made: dict[str, Any]) -> dict[str, Any]:
        """Return symbol, side and size of signed quantities."""
        quantity = made["quantity"]
        return {
            "symbol": self._names_of(made["symbol"]),
            "side": np.where(quantity > 0, "buy", "sell"),
            "quantity": np.abs(quantity),
        }


def _index(ts: Any) -> pd.Index[Any]:
    import pandas as pd

    index: pd.Index[Any] = pd.Index(ts, name="ts", dtype="int64")
    return index


def _carried(close: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return closes where a symbol without a bar keeps its last one."""
    known = ~np.isnan(close)
    if known.all():
        return close
    rows = np.maximum.accumulate(np.where(known, np.arange(len(close))[:, None], 0), axis=0)
    return np.take_along_axis(close, rows, axis=0)
