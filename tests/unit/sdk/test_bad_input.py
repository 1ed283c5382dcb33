"""Every mistake of an author gets one message that names the place and the remedy."""

import pandas as pd
import pytest

from qmtl.errors import (
    BuildError,
    ComputeError,
    CycleError,
    DataGapError,
    DuplicateNameError,
    IntervalError,
    NotEnoughHistoryError,
    QmtlError,
    SchemaMismatchError,
    UnknownNameError,
    UsageError,
)  # fmt: skip
from qmtl.indicators import sma
from qmtl.sdk import Node, Runner, Strategy, StreamInput, TagQueryNode
from qmtl.sdk.trade import target_position
from qmtl.transforms import resample


@pytest.fixture
def bars(sample_bars):
    return pd.DataFrame(sample_bars(bars=60))


def price(**options):
    return StreamInput(**{"tags": ["BTC"], "interval": "1m", "name": "price"} | options)


def run(build, bars, **options):
    class Mine(Strategy):
        def setup(self):
            stream = price()
            self.add_nodes([stream, *build(stream)])

    return Runner.backtest(Mine, **{"data": {"price": bars}} | options)


def own(fn, **options):
    return lambda stream: [Node(input={"price": stream}, compute_fn=fn, **{"period": 3, "name": "own"} | options)]


def mutates(view):
    view.array("price", "close")[0] = 0.0


def mixed(stream):
    return [Node(input=[stream, price(interval="5m", tags=["E"], name="x")], compute_fn=len, period=2)]


def circle(stream):
    return [Node(input=TagQueryNode(["loop"], "1m"), compute_fn=fn, tags=["loop"], period=1) for fn in (len, sum)]


BUILDS = {
    "unknown field": (lambda p: [sma(p.clsoe, 3)], UnknownNameError, "close"),
    "two arguments": (own(lambda a, b: 1.0), TypeError, "exactly one argument"),
    "interval 0": (lambda p: [price(interval=0, name="x")], IntervalError, "not positive"),
    "a month": (lambda p: [price(interval="1M", name="x")], IntervalError, "no fixed length"),
    "mixed intervals": (mixed, IntervalError, "interval"),
    "period 0": (own(lambda v: 1.0, period=0), BuildError, "period"),
    "one name twice": (lambda p: [sma(p.close, 3, name="a"), sma(p.close, 4, name="a")], DuplicateNameError, "'a'"),
    "node added twice": (lambda p: [p], DuplicateNameError, "twice"),
    "no node": (lambda p: [3], BuildError, "not a node"),
    "parameter": (lambda p: [sma(p.close, period=0)], QmtlError, "period"),
    "unknown parameter": (lambda p: [sma(p.close, perid=3)], QmtlError, "period"),
    "truth of a node": (lambda p: [p.close > 3 and p.open > 3], BuildError, "use & | ~"),
    "cycle": (circle, CycleError, "upstream of itself"),
    "longer to shorter": (lambda p: [resample(p, "30s")], IntervalError, "multiple"),
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_graph_that_cannot_be(name, bars):
    build, error, says = BUILDS[name]
    with pytest.raises(error, match=says) as caught:
        run(build, bars)
    assert caught.value.hint or says in caught.value.message


RUNS = {
    "raises": (own(lambda v: 1 / 0), ComputeError, "'own' failed at 2022-01-01T00:02:00Z: ZeroDivisionError"),
    "mutates its window": (own(mutates), ComputeError, "read-only"),
    "returns the view": (own(lambda v: v), QmtlError, "returned a CacheView"),
    "another schema": (own(lambda v: {"a": 1.0} if v.bucket < 1640995500 else {"b": 1.0}), SchemaMismatchError, "'b'"),
    "another schema than declared": (own(lambda v: {"a": 1.0}, schema={"b": "float64"}), SchemaMismatchError, "'a'"),
    "a text": (own(lambda v: {"a": "up"}), SchemaMismatchError, "'up'"),
}


@pytest.mark.parametrize("engine", ["batch", "stream"])
@pytest.mark.parametrize("name", RUNS)
def test_a_function_that_misbehaves(name, engine, bars):
    build, error, says = RUNS[name]
    with pytest.raises(error, match=says):
        run(build, bars, engine=engine)


def test_not_enough_history_says_how_much_there_is_and_is_needed(bars):
    with pytest.raises(NotEnoughHistoryError, match=r"needs 100 bars .* has 60"):
        run(lambda p: [sma(p.close, 100, name="long")], bars)


def test_a_gap_fails_where_it_must(bars):
    with pytest.raises(DataGapError, match="misses 3 bars of 1m in 1 gap") as caught:
        run(lambda p: [sma(p.close, 2)], bars.drop(index=[10, 11, 12]), on_missing="fail")
    assert [len(gap) for gap in caught.value.gaps] == [180]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"start_time": "2022-01-02", "end_time": "2022-01-01"}, UsageError, "not before"),
        ({"on_missing": "fil"}, UnknownNameError, "fill"),
        ({"engine": "bach"}, UnknownNameError, "batch"),
        ({"calendar": "XNYZ"}, UnknownNameError, "did you mean"),
        ({"dat": {}}, UnknownNameError, "data"),
        ({"cash": -5.0}, UsageError, "cash is -5.0"),
        ({"data": {"prise": 1}}, UnknownNameError, "price"),
        ({"data": {}}, QmtlError, "has no data"),
        ({"start_time": 1_640_995_200_000}, IntervalError, "milliseconds"),
    ],
)
def test_options_that_make_no_sense(options, error, says, bars):
    with pytest.raises(error, match=says):
        run(lambda p: [sma(p.close, 2)], bars, **options)


def test_what_is_no_strategy():
    with pytest.raises(UsageError, match="not a strategy"):
        Runner.backtest(len)
    with pytest.raises(BuildError, match=r"no setup\(\)"):
        Runner.backtest(type("Empty", (Strategy,), {}))


def test_an_unknown_target_is_named(bars):
    class Mine(Strategy):
        def setup(self):
            stream = price()
            self.add_nodes([stream, target_position(stream.close > 1, price=stream, name="position")])

        def define_execution(self):
            self.set_target("positon")

    with pytest.raises(UnknownNameError, match="did you mean 'position'"):
        Runner.backtest(Mine, data={"price": bars})


def test_one_stream_does_not_take_two_sources(bars):
    class Mine(Strategy):
        def setup(self):
            self.add_nodes([price(name="a"), price(name="b")])

    with pytest.raises(DuplicateNameError, match="are one stream"):
        Runner.backtest(Mine, data={"a": bars, "b": bars.assign(close=1.0)})


def test_a_run_can_be_stopped(bars):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lambda p: [sma(p.close, 2)], bars, on_progress=stop)


def test_gaps_of_a_universe_are_counted_by_symbol(bars):
    class Mine(Strategy):
        def setup(self):
            self.add_nodes(StreamInput(tags=["spot"], interval="1m", symbols=("A", "B"), name="price"))

    data = {"price": {"A": bars, "B": bars.drop(index=[10, 11])}}
    assert [(g["stream"], g["bars"]) for g in Runner.offline(Mine, data=data).gaps] == [("price[B]", 2)]
    with pytest.raises(DataGapError, match=r"price\[B\]"):
        Runner.offline(Mine, data=data, on_missing="fail")
