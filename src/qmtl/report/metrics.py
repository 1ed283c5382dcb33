"""Measures of a trading run, each with its basis.

Equity is the account's value at each bar close, costs included. A daily return is the last equity of a UTC
day over that of the day before, less 1; flat days count, also those without a bar if the market was open.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.errors import unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_DAY = 86_400
_YEAR = 365.25 * _DAY
#: Below so many days a yearly growth rate says nothing, and so do moments of daily returns.
ENOUGH_DAYS = 30
#: Below so many round trips the shares of winners and losers say little.
_ENOUGH_TRADES = 20


class Metrics(Mapping[str, float]):
    """Measures by name; NaN where one is not defined.

    Attributes
    ----------
    basis : dict
        What returns are counted: ``period``, ``periods`` a year, ``rf``, ``mar``, ``ddof``, ``calendar``,
        ``returns`` (how many), ``benchmark``.
    notes : dict of str to str
        Why a measure is missing or not solid.
    """

    def __init__(self, values: Mapping[str, float], basis: Mapping[str, Any], notes: Mapping[str, str]) -> None:
        self._values = {name: float(value) for name, value in values.items()}
        self.basis, self.notes = dict(basis), dict(notes)

    def __getitem__(self, name: str) -> float:
        if name not in self._values:
            raise unknown_name("metric", name, self._values or ["(the strategy does not trade)"])
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics({self._values!r}, basis={self.basis!r})"


@dataclass(frozen=True)
class Account:
    """What is measured.

    Attributes
    ----------
    ts : int64[T]
        Bucket starts, seconds UTC; ``interval`` seconds each.
    equity, gross, net : float64[T]
        Value of the account; sum of the absolute, and of the signed values of positions, at bar closes.
    benchmark : float64[T], optional
        Price of what the run is compared with.
    notional, fees, slippage : float
        Sums over the fills, quote currency.
    pnl : float64[M]
        Of closed round trips, net of costs; ``trade_costs`` are those costs.
    initial_cash : float
        Money at the start.
    """

    ts: Ints
    interval: int
    equity: Floats
    gross: Floats
    net: Floats
    benchmark: Floats | None
    notional: float
    fees: float
    slippage: float
    pnl: Floats
    trade_costs: Floats
    initial_cash: float


def compute(account: Account, calendar: Calendar, *, rf: float = 0.0, mar: float = 0.0) -> Metrics:
    """Measure a run.

    Parameters
    ----------
    account : Account
        The run.
    calendar : Calendar
        Says which days count and how many a year has: 365 if the market never closes, else 252.
    rf, mar : float
        Riskless return and least acceptable return, a day.

    Returns
    -------
    Metrics
    """
    daily = daily_returns(account.ts, account.equity, calendar)
    days, periods = len(daily), calendar.periods_per_year
    seconds = int(account.ts[-1] - account.ts[0]) + account.interval
    drawdown, longest = drawdowns(account.ts, account.equity)
    worst = float(drawdown.min())
    growth = account.equity[-1] / account.initial_cash
    notes: dict[str, str] = {}
    cagr = math.nan
    if seconds < ENOUGH_DAYS * _DAY:
        notes["cagr"] = f"CAGR is not stated for less than {ENOUGH_DAYS} days"
    elif growth > 0:
        cagr = growth ** (_YEAR / seconds) - 1
    values = {"total_return": growth - 1, "cagr": cagr, **risk(daily, periods, rf=rf, mar=mar)}
    values |= {
        "max_drawdown": worst,
        "max_drawdown_seconds": longest,
        "calmar": cagr / -worst if worst < 0 else math.nan,
        **_against(daily, account, calendar, periods, rf),
        **_trades(account),
        **_use(account, seconds),
    }
    basis = {
        "period": "daily", "periods": periods, "rf": rf, "mar": mar, "ddof": 1, "calendar": calendar.name,
        "returns": days, "benchmark": None if account.benchmark is None else "buy and hold of the traded stream",
    }  # fmt: skip
    if days < ENOUGH_DAYS:
        notes["basis"] = f"only {days} daily returns: ratios are not solid"
    if 0 < len(account.pnl) < _ENOUGH_TRADES:
        notes["trades"] = f"only {len(account.pnl)} closed round trips: shares of them are not solid"
    return Metrics(values, basis, notes)


def daily_returns(ts: Ints, values: Floats, calendar: Calendar) -> Floats:
    """Return value at the end of each UTC day over that of the day before, less 1.

    Days without a bar repeat the day before, unless the calendar is closed on them.

    Examples
    --------
    >>> import numpy as np
    >>> day = 86_400
    >>> daily_returns(np.array([0, day, 3 * day]), np.array([1.0, 2.0, 3.0]), Calendar()).tolist()
    [1.0, 0.0, 0.5]
    """
    days = np.arange(ts[0] // _DAY, ts[-1] // _DAY + 1) * _DAY
    last = np.searchsorted(ts, days + _DAY) - 1
    has_bars = np.searchsorted(ts, days) <= last
    closing = values[last[calendar.open_mask(days, _DAY) | has_bars]]
    return np.asarray(closing[1:] / closing[:-1] - 1)


def drawdowns(ts: Ints, equity: Floats) -> tuple[Floats, int]:
    """Return equity over its running maximum, less 1, and the longest time in seconds below a maximum."""
    peak = np.maximum.accumulate(equity)
    below = equity < peak
    if not below.any():
        return np.zeros(len(equity)), 0
    rising = np.flatnonzero(~below)
    ends = np.append(rising[1:], len(ts) - 1)
    return equity / peak - 1, int((ts[ends] - ts[rising]).max())


def risk(daily: Floats, periods: int, *, rf: float, mar: float) -> dict[str, float]:
    """Return volatility, ratios and tail of daily returns.

    References
    ----------
    Probabilistic Sharpe ratio: Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier.
    """
    names = ("volatility", "sharpe", "sortino", "var_95", "cvar_95", "skew", "kurtosis", "psr")
    if len(daily) < 2:
        return dict.fromkeys(names, math.nan)
    deviation, excess = float(np.std(daily, ddof=1)), float(np.mean(daily - rf))
    downside = math.sqrt(float(np.mean(np.minimum(daily - mar, 0.0) ** 2)))
    sharpe = excess / deviation if deviation > 0 else math.nan
    tail = np.sort(daily)[: int(0.05 * (len(daily) - 1)) + 1]
    centred, spread = daily - daily.mean(), float(np.std(daily))
    skew = float(np.mean(centred**3)) / spread**3 if spread > 0 else math.nan
    kurtosis = float(np.mean(centred**4)) / spread**4 if spread > 0 else math.nan
    error = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    psr = NormalDist().cdf(sharpe * math.sqrt((len(daily) - 1) / error)) if error > 0 else math.nan
    sortino = float(np.mean(daily - mar)) / downside * math.sqrt(periods) if downside > 0 else math.nan
    values = (deviation * math.sqrt(periods), sharpe * math.sqrt(periods), sortino)
    return dict(
        zip(names, (*values, float(np.percentile(daily, 5)), float(tail.mean()), skew, kurtosis - 3, psr), strict=True)
    )


def _against(daily: Floats, account: Account, calendar: Calendar, periods: int, rf: float) -> dict[str, float]:
    """Return yearly alpha, beta and information ratio against the benchmark."""
    if account.benchmark is None or len(daily) < 2:
        return {}
    other = daily_returns(account.ts, account.benchmark, calendar)
    spread, active = float(np.var(other, ddof=1)), daily - other
    beta = float(np.cov(daily, other, ddof=1)[0, 1]) / spread if spread > 0 else math.nan
    alpha = float(np.mean(daily - rf - beta * (other - rf)))
    deviation = float(np.std(active, ddof=1))
    return {
        "benchmark_return": float(account.benchmark[-1] / account.benchmark[0] - 1),
        "alpha": (1 + alpha) ** periods - 1,
        "beta": beta,
        "information_ratio": float(np.mean(active)) / deviation * math.sqrt(periods) if deviation > 0 else math.nan,
    }


def _trades(account: Account) -> dict[str, float]:
    """Return measures of the closed round trips, net of costs."""
    pnl = account.pnl
    won, lost = pnl[pnl > 0], pnl[pnl < 0]
    gross = float((pnl + account.trade_costs)[pnl + account.trade_costs > 0].sum())
    costs = account.fees + account.slippage
    return {
        "trades": len(pnl),
        "win_rate": len(won) / len(pnl) if len(pnl) else math.nan,
        "payoff": float(won.mean() / -lost.mean()) if len(won) and len(lost) else math.nan,
        "profit_factor": float(won.sum() / -lost.sum()) if len(lost) else math.nan,
        "expectancy": float(pnl.mean()) if len(pnl) else math.nan,
        "fees": account.fees,
        "slippage": account.slippage,
        "costs_of_gross_profit": costs / gross if gross > 0 else math.nan,
    }


def _use(account: Account, seconds: int) -> dict[str, float]:
    """Return how much of the money was at work, and how often it changed hands."""
    solvent = account.equity > 0
    equity = account.equity[solvent]
    return {
        "exposure": float(np.mean(account.gross > 0)),
        "gross_leverage": float(np.mean(account.gross[solvent] / equity)) if len(equity) else math.nan,
        "net_leverage": float(np.mean(account.net[solvent] / equity)) if len(equity) else math.nan,
        "turnover": account.notional / float(account.equity.mean()) * _YEAR / seconds,
    }
