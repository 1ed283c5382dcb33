"""Measures: agreement with empyrical, and honesty about small samples."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from qmtl.calendars import Calendar
from qmtl.errors import UnknownNameError
from qmtl.report.metrics import Account, compute, daily_returns, drawdowns

DAY = 86_400


@pytest.fixture
def empyrical():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import empyrical
    return empyrical


def account(days=540, seed=5, drift=0.001, hours=24):
    random = np.random.default_rng(seed)
    ts = np.arange(days * hours, dtype=np.int64) * (DAY // hours) + 1_600_000_000 // DAY * DAY
    equity = 1000 * np.exp(np.cumsum(random.normal(drift / hours, 0.03 / math.sqrt(hours), len(ts))))
    price = 10 * np.exp(np.cumsum(random.normal(0, 0.04 / math.sqrt(hours), len(ts))))
    pnl = random.normal(1, 10, 50)
    return Account(
        ts, DAY // hours, equity, equity * 0.5, equity * 0.25, price, 5e5, 10.0, 5.0, pnl, np.full(50, 0.1), 1000.0
    )


def test_ratios_agree_with_empyrical(empyrical):
    given = account()
    made = compute(given, Calendar())
    daily = (
        pd.Series(given.equity, pd.to_datetime(given.ts, unit="s", utc=True)).resample("D").last().pct_change().dropna()
    )
    base = (
        pd.Series(given.benchmark, pd.to_datetime(given.ts, unit="s", utc=True))
        .resample("D")
        .last()
        .pct_change()
        .dropna()
    )
    assert len(daily) == made.basis["returns"]
    wanted = {
        "sharpe": empyrical.sharpe_ratio(daily, annualization=365),
        "sortino": empyrical.sortino_ratio(daily, annualization=365),
        "volatility": empyrical.annual_volatility(daily, annualization=365),
        "var_95": empyrical.value_at_risk(daily),
        "cvar_95": empyrical.conditional_value_at_risk(daily),
        "beta": empyrical.beta(daily, base),
        "alpha": empyrical.alpha(daily, base, annualization=365),
        "information_ratio": empyrical.excess_sharpe(daily, base) * math.sqrt(365),
        "skew": daily.skew() * (len(daily) - 2) / math.sqrt(len(daily) * (len(daily) - 1)),
    }
    for name, value in wanted.items():
        assert made[name] == pytest.approx(float(value), rel=1e-9), name


def test_drawdown_is_that_of_every_bar(empyrical):
    given = account()
    made = compute(given, Calendar())
    curve = pd.Series(given.equity)
    assert made["max_drawdown"] == pytest.approx(float((curve / curve.cummax() - 1).min()))
    assert made["calmar"] == pytest.approx(made["cagr"] / -made["max_drawdown"])


def test_growth_counts_elapsed_seconds():
    made = compute(account(), Calendar())
    assert made["cagr"] == pytest.approx((account().equity[-1] / 1000) ** (365.25 / 540) - 1)


def test_flat_days_count_and_closed_days_do_not():
    ts = np.array([0, 1, 4], dtype=np.int64) * DAY + 1_704_067_200  # Monday 2024-01-01 is a holiday in New York
    values = np.array([1.0, 2.0, 4.0])
    assert daily_returns(ts, values, Calendar()).tolist() == [1.0, 0.0, 0.0, 1.0]
    friday = np.array([1_704_412_800, 1_704_412_800 + 3 * DAY], dtype=np.int64)
    assert daily_returns(friday, np.array([1.0, 2.0]), Calendar("XNYS")).tolist() == [1.0]


def test_a_short_run_states_no_growth_rate_and_says_so():
    made = compute(account(days=10), Calendar())
    assert math.isnan(made["cagr"])
    assert "30 days" in made.notes["cagr"]
    assert "not solid" in made.notes["basis"]


def test_nothing_happened():
    given = account(days=40)
    still, none, bars = np.full(len(given.ts), 1000.0), np.empty(0), np.zeros(len(given.ts))
    flat = Account(given.ts, given.interval, still, bars, bars, None, 0.0, 0.0, 0.0, none, none, 1000.0)
    made = compute(flat, Calendar())
    assert made["total_return"] == 0.0
    assert made["max_drawdown"] == 0.0
    assert all(math.isnan(made[name]) for name in ("sharpe", "sortino", "calmar", "win_rate", "profit_factor"))


def test_longest_drawdown_lasts_until_the_end_or_the_recovery():
    ts = np.arange(6, dtype=np.int64) * 60
    assert drawdowns(ts, np.array([1.0, 2.0, 1.0, 1.5, 2.0, 3.0]))[1] == 180
    assert drawdowns(ts, np.array([1.0, 2.0, 1.0, 1.5, 1.0, 1.0]))[1] == 240


def test_an_unknown_measure_says_which_is_meant():
    with pytest.raises(UnknownNameError, match="sharpe"):
        compute(account(days=40), Calendar())["sharp"]
