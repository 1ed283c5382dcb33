"""Feeds from what ``data=`` names."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest

from qmtl.calendars import Calendar
from qmtl.errors import SourceNotFoundError
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.indicators import sma
from qmtl.interval import FOREVER, Span
from qmtl.sdk import StreamInput
from qmtl.sdk.binding import find_sources
from qmtl.sdk.feeds import open_feeds
from qmtl.streams import Pace, Recorded

NONE = -(1 << 62)
ALL = Span(0, FOREVER)


@pytest.fixture
def graph():
    price, rate = (StreamInput(tags=[name], interval="1m", name=name) for name in ("price", "rate"))
    return Dag.of([sma(price.close, period=3), sma(rate.close, period=3)], ())


def opened(dag, data, span=ALL, **more):
    names = {stream.name: {stream.node_id} for stream in dag.streams}
    made = {"speed": None, "calendar": Calendar()} | more
    return asyncio.run(open_feeds(dag, names, data, span=span, **made))


def ids(dag):
    return {stream.name: stream.node_id for stream in dag.streams}


def table(first, last):
    ts = range(first, last, 60)
    return pd.DataFrame({"ts": ts, "close": [float(t) for t in ts]})


def test_recorded_feeds_share_one_horizon(graph):
    feeds = opened(graph, {"price": table(0, 600), "rate": table(0, 900)})
    assert feeds.horizon == 900
    assert feeds.by_node[ids(graph)["price"]].arrived(540, 10).through == 900
    assert feeds.bound[ids(graph)["price"]].frame.ts[-1] == 540


def test_a_stream_without_data_has_no_feed(graph):
    feeds = opened(graph, {"price": table(0, 600)})
    assert list(feeds.by_node) == [ids(graph)["price"]]
    assert opened(graph, None).horizon is None


def test_a_back_test_still_wants_data_for_every_stream(graph):
    with pytest.raises(SourceNotFoundError, match="'rate' has no data"):
        find_sources(graph, {"price": [ids(graph)["price"]]}, {"price": table(0, 600)})


def test_a_feed_is_taken_as_it_is(graph):
    own = Recorded(Frame(np.array([0]), {"close": np.ones((1, 1))}, 60), Pace(None))
    feeds = opened(graph, {"price": own, "rate": table(0, 600)})
    assert feeds.by_node[ids(graph)["price"]] is own
    assert list(feeds.bound) == [ids(graph)["rate"]]
    feeds.close()


def test_bars_before_the_span_warm_up_at_once(graph):
    feeds = opened(graph, {"price": table(0, 6000)}, Span(600, 1200), speed=1.0, now=lambda: 0.0)
    got = feeds.by_node[ids(graph)["price"]].arrived(NONE, 100)
    assert got.bars.ts.tolist() == [360, 420, 480, 540]
    assert got.through == 600
