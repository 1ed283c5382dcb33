"""Feeds from what ``data=`` names."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest

from qmtl.calendars import Calendar
from qmtl.errors import QmtlError, SourceNotFoundError
from qmtl.frame import Frame
from qmtl.generators import gbm
from qmtl.graph.dag import Dag
from qmtl.indicators import sma
from qmtl.interval import FOREVER, Span
from qmtl.sdk import StreamInput
from qmtl.sdk.binding import find_sources
from qmtl.sdk.feeds import open_feeds
from qmtl.streams import Pace, Recorded

NONE = -(1 << 62)
ALL = Span(0, FOREVER)
ENDING = "generate://gbm?seed=3&start=1970-01-01&end=1970-01-01T01:40"


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


def test_a_generated_market_with_an_end_is_a_record_like_any_other(graph):
    feeds = opened(
        graph,
        {
            "price": ENDING,
            "rate": gbm(seed=3, start=0, end=9000),
        },
    )
    price, rate = (feeds.bound[ids(graph)[name]].frame for name in ("price", "rate"))
    assert feeds.horizon == 9000
    assert price.fingerprint() == rate.rows(0, 100).fingerprint()


def test_a_generated_market_without_an_end_goes_on_unless_the_span_ends_it(graph):
    endless = {"price": "generate://gbm?seed=3&start=1970-01-01", "rate": table(0, 60_000)}
    feeds = opened(graph, endless, Span(6000, FOREVER))
    assert feeds.horizon is None
    assert list(feeds.bound) == [ids(graph)["rate"]]
    first = feeds.by_node[ids(graph)["price"]].arrived(NONE, 6)
    assert first.bars.ts.tolist()[0] == feeds.bound[ids(graph)["rate"]].frame.ts[0], "it warms up as records do"
    assert opened(graph, endless, Span(6000, 12_000)).horizon == 12_000


def test_the_symbols_of_a_universe_have_seeds_of_their_own():
    price = StreamInput(tags=["x"], interval="1m", name="price", symbols=["A", "B"])
    dag = Dag.of([sma(price.close, period=3)], ())
    frame = opened(dag, {"price": ENDING}).bound[ids(dag)["price"]].frame
    for k in range(2):
        alone = gbm(seed=3 + k, start=0, end=6000).bars(60, Span(0, 6000))
        assert (frame.columns["close"][:, k] == alone.columns["close"][:, 0]).all()


def test_faults_are_injected_into_records_and_differ_by_stream(graph):
    feeds = opened(graph, {"price": table(0, 60_000), "rate": table(0, 60_000)}, faults="missing=0.1,seed=7")
    price, rate = (feeds.by_node[ids(graph)[name]].sealed.ts for name in ("price", "rate"))
    assert 850 < len(price) < 950
    assert price.tolist() != rate.tolist()
    assert len(feeds.bound[ids(graph)["price"]].frame) == 1000


def test_a_topic_is_opened_but_not_asked(graph):
    feeds = opened(graph, {"price": "kafka://127.0.0.1:1/bars?closed=true"})
    made = feeds.by_node[ids(graph)["price"]]
    assert (feeds.horizon, feeds.bound, made.problem, made.silent_s()) == (None, {}, "", 0.0)
    feeds.close()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("generate://gmb?seed=1", "generator 'gmb'"),
        ("generate://gbm?sed=1", "'sed'"),
        ("generate://gbm?seed=x", "makes no sense"),
        ("redis://host/x", "'redis'"),
        ("kafka://host", "names no topic"),
    ],
)
def test_a_url_without_sense_is_refused(graph, source, said):
    with pytest.raises(QmtlError, match=said):
        opened(graph, {"price": source})
