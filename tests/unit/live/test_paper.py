"""Paper trading: cut anyhow, it is the back-test; orders have one identity each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.engine.batch import Output
from qmtl.graph.node import StreamInput
from qmtl.interval import Span
from qmtl.live.paper import Paper, Terms, client_order_id
from qmtl.live.rows import Rows
from qmtl.sdk.backtest import _on_bars
from qmtl.trading.costs import Costs
from qmtl.trading.exchange import simulate

EVER = Span(0, 1 << 40)
COSTS = Costs(taker_bps=7, slippage_bps=3, lot=0.01, tick=0.01)


def terms(symbols=1, kind="position", interval=60, span=EVER, costs=COSTS):
    names = tuple("ABCDEFGH"[:symbols])
    return Terms("s", "target", interval, kind, "price", 60, names, costs, 1000.0, span)


def case(seed, symbols, interval, has_open=True):
    """Return bars with gaps and holes, and targets that repeat, change, are absent or NaN."""
    random = np.random.default_rng(seed)
    ts = 60 * np.flatnonzero(random.random(120) < random.choice([0.3, 0.8, 1.0]))
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.01, (len(ts), symbols)), axis=0))
    close[random.random(close.shape) < 0.2] = np.nan
    columns = {"close": close, "volume": close}
    if has_open:
        columns["open"] = np.where(random.random(close.shape) < 0.1, np.nan, close * 1.001)
    buckets = interval * np.flatnonzero(random.random(120 * 60 // interval) < 0.7)
    aims = random.choice([-1.0, 0.0, 0.5, 0.5, 1.0, np.nan], (len(buckets), symbols))
    return Rows.made(ts, columns), Rows.made(buckets, {"value": aims})


def in_pieces(paper, bars, targets, seed, restart=False):
    """Deliver in random pieces; return the account, its fills, and what became of each order."""
    random = np.random.default_rng(seed)
    ends = sorted({*random.integers(0, 7300, random.integers(0, 90)).tolist(), 7300})
    made, journal, sent = [], {}, {"price": 0, "target": 0}
    for through in ends:
        delivered = {}
        for name, rows, interval in (("price", bars, 60), ("target", targets, paper.terms.interval)):
            stop = int(np.searchsorted(rows.ts, through - interval, side="right"))
            delivered[name] = rows.part(sent[name], stop)
            sent[name] = stop
        made.append(paper.take(delivered, through))
        for order in made[-1].orders:
            assert (order.client_order_id in journal) or order.status != "replaced"
            journal[order.client_order_id] = order
        if restart and random.random() < 0.3:
            saved, terms_ = paper.snapshot(), paper.terms
            paper = Paper(terms_)
            paper.restore(saved)
            assert paper.snapshot() == saved
    return made, journal


def whole(terms, bars, targets):
    stream = StreamInput(tags=["x"], interval="1m", symbols=terms.symbols if len(terms.symbols) > 1 else None)
    columns = dict(zip(bars.fields, bars.values, strict=True))
    target = _on_bars(Output(targets.ts, {"value": targets.values[0]}), terms.interval, bars.ts, stream)
    return simulate(
        bars.ts, columns.get("open", columns["close"]), columns["close"], target,
        kind=terms.kind, costs=terms.costs, initial_cash=terms.cash,
    )  # fmt: skip


def bits(array):
    return np.ascontiguousarray(array).tobytes()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6), symbols=st.integers(1, 3), kind=st.sampled_from(["position", "weight"]),
    interval=st.sampled_from([60, 300, 3600]), has_open=st.booleans(), restart=st.booleans(),
)  # fmt: skip
def test_pieces_are_the_whole(seed, symbols, kind, interval, has_open, restart):
    agreed = terms(symbols, kind, interval)
    bars, targets = case(seed, symbols, interval, has_open)
    expected = whole(agreed, bars, targets)
    made, journal = in_pieces(Paper(agreed), bars, targets, seed + 1, restart)
    for name in ("ts", "equity", "cash", "position"):
        assert bits(np.concatenate([getattr(m, name) for m in made])) == bits(getattr(expected, name)), name
    fills = np.concatenate([m.fills for m in made])
    for name in ("ts", "decided", "symbol", "quantity", "price", "fee", "slippage"):
        assert bits(fills[name]) == bits(expected.fills[name]), name
    still = [o for o in journal.values() if o.status == "open"]
    assert sorted((o.symbol, o.ts, o.quantity) for o in still) == [
        (s, t, q)
        for s, t, q, done in zip(
            *(expected.orders[k].tolist() for k in ("symbol", "ts", "quantity", "filled")), strict=True
        )
        if not done
    ]
    filled = [o for o in journal.values() if o.status == "filled"]
    assert sorted(f.hex() for f in fills["client_order_id"].tolist()) == sorted(o.client_order_id for o in filled)


def column(*values):
    return {"value": np.array(values, float)[:, None]}


def prices(*ts):
    return Rows.made(np.array(ts), {"close": np.full((len(ts), 1), 10.0)})


def test_a_later_target_on_the_same_bar_replaces_the_order_before_a_price_comes():
    paper = Paper(terms(costs=Costs()))
    first = paper.take({"price": prices(0), "target": Rows.made(np.array([0]), column(1.0))}, 60)
    assert [(o.bucket, o.ts, o.quantity, o.status) for o in first.orders] == [(0, 0, 1.0, "open")]
    second = paper.take({"target": Rows.made(np.array([60]), column(-1.0))}, 120)
    assert [(o.bucket, o.ts, o.quantity, o.status) for o in second.orders] == [
        (0, 0, 1.0, "replaced"), (60, 0, -1.0, "open")
    ]  # fmt: skip
    third = paper.take({"price": prices(120)}, 180)
    assert [(o.bucket, o.quantity, o.status) for o in third.orders] == [(60, -1.0, "filled")]
    assert third.fills["quantity"].tolist() == [-1.0]


def test_an_order_has_the_id_of_its_strategy_node_bucket_and_leg():
    paper = Paper(terms())
    made = paper.take({"price": prices(0), "target": Rows.made(np.array([0]), column(1.0))}, 60)
    assert made.orders[0].client_order_id == client_order_id("s", "target", 0, "A")
    others = [("t", "target", 0, "A"), ("s", "x", 0, "A"), ("s", "target", 60, "A"), ("s", "target", 0, "B")]
    assert len({client_order_id(*other) for other in others} | {made.orders[0].client_order_id}) == 5


def test_bars_outside_of_the_span_do_not_count():
    paper = Paper(terms(span=Span(60, 180)))
    made = paper.take({"price": prices(0, 60, 120, 180), "target": Rows.made(np.array([0, 60]), column(1.0, 2.0))}, 240)
    assert made.ts.tolist() == [60, 120]
    assert made.fills["quantity"].tolist() == [2.0]


def test_what_was_delivered_too_early_waits():
    paper = Paper(terms())
    assert not len(paper.take({"price": prices(0, 60)}, 59).ts)
    again = Paper(terms())
    again.restore(paper.snapshot())
    assert again.take({}, 60).ts.tolist() == [0]
    assert again.take({}, 120).ts.tolist() == [60]


@pytest.mark.parametrize("kind", ["position", "weight"])
def test_a_nan_target_takes_the_tentative_order_back(kind):
    paper = Paper(terms(kind=kind, costs=Costs()))
    paper.take({"price": prices(0), "target": Rows.made(np.array([0]), column(1.0))}, 60)
    made = paper.take({"target": Rows.made(np.array([60]), column(np.nan))}, 120)
    assert [o.status for o in made.orders] == ["replaced"]
    assert not len(paper.take({"price": prices(120)}, 180).fills)
