"""The simulated exchange: fills, rounding, costs, and books that reconcile."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.errors import BuildError
from qmtl.trading.costs import Costs
from qmtl.trading.exchange import Exchange, simulate
from qmtl.trading.round_trips import round_trips


def column(*values):
    return np.array(values, float)[:, None]


def trade(open_, close, target, kind="position", cash=1000.0, **costs):
    ts = 60 * np.arange(len(close))
    return simulate(ts, open_, close, target, kind=kind, costs=Costs(**costs), initial_cash=cash)


def test_a_target_known_at_a_close_fills_at_the_next_open():
    made = trade(column(10, 11, 12), column(10.5, 11.5, 12.5), column(2, np.nan, np.nan))
    assert made.fills["ts"].tolist() == [60]
    assert made.fills["decided"].tolist() == [0]
    assert made.fills["price"].tolist() == [11.0]
    assert made.position[:, 0].tolist() == [0.0, 2.0, 2.0]
    assert made.equity.tolist() == [1000.0, 1001.0, 1003.0]


def test_what_the_last_bar_decides_stays_an_open_order():
    made = trade(column(10, 11), column(10, 11), column(np.nan, 3))
    assert made.orders["filled"].tolist() == [False]
    assert made.orders["quantity"].tolist() == [3.0]
    assert len(made.fills["ts"]) == 0


def test_fees_and_slippage_are_paid_on_both_sides():
    made = trade(column(100, 100, 100), column(100, 100, 100), column(1, 0, 0), taker_bps=10, slippage_bps=20)
    assert made.fills["price"].tolist() == pytest.approx([100.2, 99.8])
    assert made.fills["fee"].tolist() == pytest.approx([0.1002, 0.0998])
    assert made.fills["slippage"].tolist() == pytest.approx([0.2, 0.2])
    assert made.equity[-1] == pytest.approx(1000 - 0.4 - 0.2)


def test_lots_round_towards_zero_and_ticks_against_the_trader():
    made = trade(column(1, 10.03, 10.07), column(10, 10, 10), column(0.37, -0.37, 0), lot=0.1, tick=0.05)
    assert made.fills["quantity"].tolist() == pytest.approx([0.3, -0.6])
    assert made.fills["price"].tolist() == pytest.approx([10.05, 10.05])


def test_three_tenths_are_three_lots():
    made = trade(column(1, 1), column(1, 1), column(0.3, np.nan), lot=0.1)
    assert made.fills["quantity"].tolist() == pytest.approx([0.3])


def test_a_weight_is_a_share_of_the_equity_when_it_changes():
    made = trade(column(10, 10, 20), column(10, 10, 20), column(0.5, 0.5, 0.5), kind="weight")
    assert made.fills["quantity"].tolist() == [50.0]
    assert made.equity.tolist() == [1000.0, 1000.0, 1500.0]


def test_a_symbol_without_a_bar_waits_and_keeps_its_price():
    open_ = np.array([[10.0, 5.0], [10.0, np.nan], [10.0, 6.0]])
    target = np.array([[np.nan, 1.0], [np.nan, np.nan], [np.nan, np.nan]])
    made = trade(open_, open_, target)
    assert made.fills["ts"].tolist() == [120]
    assert made.fills["price"].tolist() == [6.0]


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["position", "weight"]), st.sampled_from([0.0, 0.01, 1.0])
)
def test_books_reconcile(seed, symbols, kind, lot):
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.01, (80, symbols)), axis=0))
    open_ = close * (1 + random.normal(0, 0.002, close.shape))
    target = random.choice([-1.0, 0.0, 0.4, 1.0, np.nan], close.shape)
    made = trade(open_, close, target, kind=kind, taker_bps=7, slippage_bps=3, lot=lot, tick=0.01)
    assert np.allclose(made.equity, made.cash + (made.position * close).sum(axis=1), rtol=0, atol=1e-6)
    quantity, price, fee = (made.fills[name] for name in ("quantity", "price", "fee"))
    assert made.cash[-1] == pytest.approx(1000 - (quantity * price).sum() - fee.sum())
    flat = made.position[-1] == 0.0
    trips = round_trips(made.fills, symbols)
    if flat.all():
        assert trips["pnl"].sum() == pytest.approx(made.equity[-1] - 1000, abs=1e-6)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10**6), symbols=st.integers(1, 3), kind=st.sampled_from(["position", "weight"]),
    lot=st.sampled_from([0.0, 0.01]), cuts=st.sets(st.integers(0, 60), max_size=60), decides_late=st.booleans(),
)  # fmt: skip
def test_pieces_are_the_whole_to_the_bit(seed, symbols, kind, lot, cuts, decides_late):
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.01, (60, symbols)), axis=0))
    close[random.random(close.shape) < 0.2] = np.nan
    open_, target = close * 1.001, random.choice([-1.0, 0.0, 0.4, 1.0, np.nan], close.shape)
    ts, costs = 60 * np.arange(60), Costs(taker_bps=7, slippage_bps=3, lot=lot, tick=0.01)
    expected = simulate(ts, open_, close, target, kind=kind, costs=costs, initial_cash=1000.0)
    exchange, made = Exchange(symbols, kind=kind, costs=costs, initial_cash=1000.0), []
    for low, high in itertools.pairwise(sorted({0, 60} | cuts)):
        aims, last = target[low:high].copy(), target[high - 1]
        if decides_late:
            aims[-1] = np.nan
        made.append(exchange.trade(ts[low:high], open_[low:high], close[low:high], aims))
        if decides_late:
            foreseen = exchange.orders_after(int(ts[high - 1]), last)
            exchange.decide(int(ts[high - 1]), last)
            assert exchange.open_orders == foreseen
        saved = exchange.snapshot()
        exchange = Exchange(symbols, kind=kind, costs=costs, initial_cash=1000.0)
        exchange.restore(saved)
    for name in ("ts", "equity", "cash", "position"):
        whole = np.concatenate([getattr(part, name) for part in made])
        assert whole.tobytes() == np.ascontiguousarray(getattr(expected, name)).tobytes(), name
    for name in set(expected.fills) - {"order"}:
        assert np.concatenate([part.fills[name] for part in made]).tobytes() == expected.fills[name].tobytes(), name
    still = ~expected.orders["filled"]
    assert [*zip(*(expected.orders[k][still].tolist() for k in ("ts", "symbol", "quantity")), strict=True)] == (
        exchange.open_orders
    )


def test_a_fill_through_zero_is_two_round_trips_and_its_costs_are_divided():
    fills = {
        "ts": np.array([0, 60, 120]), "symbol": np.zeros(3, int), "quantity": np.array([1.0, -3.0, 2.0]),
        "price": np.array([10.0, 12.0, 11.0]), "fee": np.array([0.1, 0.3, 0.2]), "slippage": np.zeros(3),
    }  # fmt: skip
    trips = round_trips(fills, 1)
    assert trips["quantity"].tolist() == [1.0, -2.0]
    assert trips["pnl"].tolist() == pytest.approx([2.0 - 0.2, 2.0 - 0.4])
    assert trips["entry_ts"].tolist() == [0, 60]


@pytest.mark.parametrize(
    "bad", [{"taker_bps": -1}, {"slippage_bps": float("nan")}, {"lot": "a"}, {"taker_bps": 10_000}]
)
def test_costs_that_make_no_sense_are_refused(bad):
    with pytest.raises(BuildError, match=next(iter(bad))):
        Costs(**bad)
