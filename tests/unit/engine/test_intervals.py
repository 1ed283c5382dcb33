"""Nodes that look across intervals and streams: only what is complete is seen."""

import pandas as pd
import pytest

from qmtl.indicators import sma
from qmtl.sdk import Node, Runner, Strategy, StreamInput, TagQueryNode
from qmtl.transforms import add, resample

pytestmark = pytest.mark.numeric


def minutes(count=30, step=60, start=0, scale=1.0):
    ts = [start + step * k for k in range(count)]
    return pd.DataFrame({name: [scale * t for t in ts] for name in ("open", "high", "low", "close")} | {"ts": ts})


def run(build, data, engine="batch", **options):
    class One(Strategy):
        def setup(self):
            self.add_nodes(build())

    return Runner.offline(One, data=data, engine=engine, **options).outputs


def price(interval="1m", name="price", tag="BTC", **options):
    return StreamInput(tags=[tag], interval=interval, name=name, **options)


@pytest.mark.parametrize("engine", ["batch", "stream"])
class TestBothDrivers:
    def test_a_longer_bar_is_seen_when_it_is_complete(self, engine):
        def build():
            stream = price()
            five = resample(stream, "5m", name="five")
            return [stream, five, add(five.close, stream.close * 0.0, interval="1m", name="seen")]

        seen = run(build, {"price": minutes()}, engine)["seen"]["value"]
        assert seen.index[0] == 240  # the first five minutes end with the bar that starts at 240
        assert all(value == (ts + 60) // 300 * 300 - 60 for ts, value in seen.items())

    def test_a_function_sees_each_input_with_its_own_period(self, engine):
        def both(view):
            return {"minutes": view.timestamps("m").sum() * 1.0, "fives": view.timestamps("f").sum() * 1.0}

        def build():
            stream = price()
            five = resample(stream, "5m", name="five")
            node = Node(
                input={"m": stream, "f": five}, compute_fn=both, interval="1m", period={"m": 2, "f": 3}, name="n"
            )
            return [stream, node]

        made = run(build, {"price": minutes()}, engine)["n"]
        assert made.index[0] == 14 * 60
        last = made.index[-1]
        assert made["minutes"][last] == last + last - 60
        assert made["fives"][last] == sum((last + 60) // 300 * 300 - 300 * k for k in (1, 2, 3))

    def test_two_streams_fire_where_both_have_a_bar(self, engine):
        def build():
            one, two = price(), price(name="other", tag="ETH")
            return [one, two, add(one.close, two.close, name="both")]

        holed = minutes().drop(index=[5, 6])
        both = run(build, {"price": minutes(), "other": holed}, engine)["both"]["value"]
        assert both.index.tolist() == holed.ts.tolist()
        assert both.tolist() == [2.0 * ts for ts in both.index]

    def test_streams_of_two_intervals(self, engine):
        def build():
            one, five = price(), price("5m", "five")
            return [one, five, add(one.close, sma(five.close, 2), interval="1m", name="both")]

        both = run(build, {"price": minutes(), "five": minutes(6, 300)}, engine)["both"]["value"]
        assert both.index[0] == 9 * 60
        assert both[600] == 600 + 150.0

    def test_a_tag_query_sees_all_that_match(self, engine):
        def total(view):
            return float(sum(view[node][60][-1][1]["close"] for node in view))

        def build():
            query = TagQueryNode(["spot"], interval="1m", period=1, match_mode="any")
            streams = [price(name=n, tag="spot", source=n) for n in ("a", "b")]
            return [*streams, price(name="c", tag="perp"), Node(input=query, compute_fn=total, name="total")]

        data = {"a": minutes(), "b": minutes(scale=10.0), "c": minutes(scale=100.0)}
        assert run(build, data, engine)["total"]["value"].tolist() == [11.0 * 60 * k for k in range(30)]

    @pytest.mark.parametrize(("policy", "left"), [("skip", 29), ("quarantine", 7)])
    def test_a_function_that_fails_can_be_skipped_or_stopped(self, engine, policy, left):
        def sometimes(view):
            return 1.0 / (view.bucket - 420)

        def build():
            stream = price()
            return [stream, Node(input={"p": stream}, compute_fn=sometimes, period=1, on_error=policy, name="n")]

        assert len(run(build, {"price": minutes()}, engine)["n"]) == left


def test_a_view_gives_windows_in_every_form():
    seen = {}

    def look(view):
        node = next(iter(view))
        seen.update(
            latest=view.latest("p"),
            frame=view.frame(node),
            polars=view.polars("price"),
            arrow=view.arrow("p"),
            tensor=view.as_xarray(),
            bars=view[node]["1m"][-2:],
            count=len(view),
        )
        return 0.0

    def build():
        stream = price()
        return [stream, Node(input={"p": stream}, compute_fn=look, period=3, name="n", version="1")]

    run(build, {"price": minutes(5)})
    assert seen["latest"]["close"] == 240.0
    assert seen["frame"]["close"].tolist() == [120.0, 180.0, 240.0]
    assert seen["polars"]["close"].to_list() == [120.0, 180.0, 240.0]
    assert seen["arrow"]["ts"].to_pylist() == [120, 180, 240]
    assert seen["tensor"].sizes["p"] == 3
    assert [ts for ts, _ in seen["bars"]] == [180, 240]
    assert seen["count"] == 1
