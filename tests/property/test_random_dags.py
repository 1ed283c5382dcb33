"""Random graphs of operators and functions: equal bits in every mode, and the derived warm-up is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.engine.batch import run_batch
from qmtl.engine.plan import Plan
from qmtl.engine.stream import StreamEngine, run_stream
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.graph.expression import Field
from qmtl.graph.node import Node, StreamInput
from qmtl.indicators import ema, macd, rsi, sma
from qmtl.testing.operators import assert_same, sample_bars
from qmtl.transforms import add, crossover, lag, log_return, resample, rolling_max, rolling_min, rolling_std

pytestmark = [pytest.mark.determinism, pytest.mark.numeric]


def middle(field):
    def function(view):
        window = view.array("x", field)
        return float((window.max() + window.min()) / 2)

    return function


UNARY = [
    sma,
    ema,
    lambda x, k: rsi(x, k + 1),
    lag,
    log_return,
    lambda x, k: rolling_std(x, k + 1),
    rolling_min,
    rolling_max,
    lambda x, k: macd(x, 3, 3 + k, 2)["signal"],
    lambda x, k: x * 1.5 + k,
    lambda x, k: Node(input={"x": x.node}, compute_fn=middle(x.name), period=k, schema={"value": "float64"})["value"],
]
BINARY = [
    lambda x, y, k: x + y,
    lambda x, y, k: (x > y) * 1.0,
    lambda x, y, k: crossover(x, y),
    lambda x, y, k: x / y,
]


@st.composite
def graphs(draw):
    price = StreamInput(tags=["BTC"], interval="1m", name="price")
    five = resample(price, "5m")
    minutes, fives = [lag(price.close, 1)["value"], sma(price.volume, 2)["value"]], [sma(five.close, 1)["value"]]
    for _ in range(draw(st.integers(1, 7))):
        pool = draw(st.sampled_from([minutes, minutes, fives]))
        k = draw(st.integers(1, 6))
        if draw(st.integers(0, 3)) == 0:  # a node of one minute that looks at one of five
            made, pool = add(draw(st.sampled_from(minutes)), draw(st.sampled_from(fives)), interval="1m"), minutes
        elif draw(st.booleans()):
            made = draw(st.sampled_from(UNARY))(draw(st.sampled_from(pool)), k)
        else:
            made = draw(st.sampled_from(BINARY))(draw(st.sampled_from(pool)), draw(st.sampled_from(pool)), k)
        pool.append(made if isinstance(made, Field) else made["value"])
    nodes = [field.node for field in (*minutes, *fives)]
    return price, Dag.of(dict.fromkeys(nodes))


@settings(max_examples=80, deadline=None)
@given(graphs(), st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.3]))
def test_drivers_chunks_starts_and_snapshots_agree(graph, seed, gaps):
    price, dag = graph
    wide = sample_bars(700, symbols=("A",), gaps=gaps, seed=seed)
    bars = Frame(wide.ts, wide.columns, 60)
    plan = Plan.of(dag, {price.node_id: bars.fields}, {n.node_id for n in dag.nodes} - {price.node_id})
    key = price.node_id
    whole = run_batch(plan, {key: bars})
    halves = [bars.rows(None, len(bars) // 2), bars.rows(len(bars) // 2)]
    engine = StreamEngine(plan)
    first = run_stream(plan, {key: halves[0]}, engine=engine)
    other = StreamEngine(plan)
    other.restore(engine.snapshot())
    second = run_stream(plan, {key: halves[1]}, engine=other)
    start = int(np.random.default_rng(seed).integers(1, len(bars) // 2))
    later = run_batch(plan, {key: bars.rows(start)}, rows=37)
    for identifier, output in whole.items():
        if len(output.ts) == 0:
            continue
        parts = [o for o in (first[identifier], second[identifier]) if len(o.ts)]
        joined = type(output)(
            np.concatenate([o.ts for o in parts]),
            {name: np.concatenate([o.columns[name] for o in parts]) for name in parts[0].columns},
        )
        assert_same(output, joined, "a stream with a snapshot in the middle")
        tail = later[identifier]
        if len(tail.ts):
            since = output.rows(int(np.searchsorted(output.ts, tail.ts[0])))
            assert_same(since, tail, f"a run from bar {start} on")
