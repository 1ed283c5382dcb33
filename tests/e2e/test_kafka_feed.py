"""Bars from a topic on a real Kafka: sealed the same for everybody, and nothing raised when the broker is gone."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from qmtl.streams.kafka_feed import ROOM, KafkaFeed
from qmtl.streams.records import parse_topic
from stack.waiting import wait_until

NONE = -(1 << 62)
START = 1_700_000_040


class Topic:
    """A topic of its own, and its writer."""

    def __init__(self, server, partitions=1):
        self.server, self.name = server, f"bars-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": server.address})
        # The bars are years old: a topic that keeps a week would lose them under the test.
        made = NewTopic(self.name, partitions, 1, config={"retention.ms": "-1"})
        admin.create_topics([made])[self.name].result(timeout=20)
        self._producer = Producer({"bootstrap.servers": server.address, "acks": "all", "linger.ms": 1})
        self.feeds = []

    def write(self, *rows, raw=None):
        """Rows of (bucket, close, written), the moment of writing seconds UTC or None for now."""
        for bucket, close, *written in rows:
            value = raw or json.dumps({"ts": bucket, "close": close})
            at = {"timestamp": int(written[0] * 1000)} if written else {}
            self._producer.produce(self.name, value, partition=0, **at)
            self._producer.poll(0)
        assert self._producer.flush(20) == 0

    def feed(self, query="closed=true&grace=never", interval=60, **more):
        url = f"{self.server.url}/{self.name}?fields=close&{query}"
        self.feeds.append(KafkaFeed(parse_topic(url), interval, **more))
        return self.feeds[-1]


@pytest.fixture
def topic_on():
    """Topics on a server; their readers end with the test."""
    made = []

    def make(server, **more):
        made.append(Topic(server, **more))
        return made[-1]

    yield make
    for feed in (feed for topic in made for feed in topic.feeds):
        feed.close()


@pytest.fixture
def topic(topic_on, shared_server):
    return topic_on(shared_server("kafka"))


def drained(feed, after, until, limit=1000):
    """Bars and late bars until one bucket is known to be complete."""
    bars, late = [], []

    def turn():
        nonlocal after
        got = feed.arrived(after, limit)
        if got.bars is not None:
            bars.extend(zip(got.bars.ts.tolist(), got.bars.columns["close"][:, 0].tolist(), strict=True))
            after = bars[-1][0]
        late.extend([] if got.late is None else got.late.ts.tolist())
        return got.through is not None and got.through >= until

    wait_until(turn, 20, pause_s=0.005)
    return bars, late


def bars(first, last):
    return [(START + 60 * k, float(k)) for k in range(first, last)]


def test_bars_come_in_order_and_go_on(topic):
    topic.write(*bars(0, 500))
    feed = topic.feed()
    assert drained(feed, NONE, START + 60 * 500) == (bars(0, 500), [])
    topic.write(*bars(500, 510))
    assert drained(feed, START + 60 * 499, START + 60 * 510) == (bars(500, 510), [])
    assert (feed.problem, feed.end) == ("", None)


def test_from_any_bucket_it_says_the_same(topic):
    rows = [(ts, close, ts + 60) for ts, close in bars(0, 300)]
    topic.write(*rows)
    feed, other = topic.feed(), topic.feed()
    for after in (-1, 299, 100, 250, 40):
        wanted = [row for row in bars(0, 300) if row[0] > START + 60 * after]
        for one in (feed, other):
            got, _ = drained(one, START + 60 * after, START + 60 * 300 if wanted else START)
            assert got == wanted
    assert feed.arrived(START + 60 * 40, 5).bars.ts.tolist() == [ts for ts, _ in bars(41, 46)]
    assert feed.arrived(START + 60 * 40, 5).bars.ts.tolist() == [ts for ts, _ in bars(41, 46)]


def test_late_double_and_broken_records_are_told_apart(topic):
    topic.write(*bars(0, 3), *bars(2, 3), (START + 60, 99.0))
    topic.write((0, 0), raw=b"{nothing")
    topic.write((START + 60 * 3 + 1, 0.0), (START + 60 * 4, float("nan")), *bars(5, 6))
    feed = topic.feed()
    got, late = drained(feed, NONE, START + 60 * 6)
    assert got == [*bars(0, 3), *bars(5, 6)]
    assert late == [START + 60]
    tally = feed.tally
    assert (tally.arrived, tally.sealed, tally.late, tally.duplicates) == (9, 4, 1, 1)
    assert dict(tally.refused) == {"not json": 2, "off the grid of 1m": 1}, "JSON has no NaN"


def test_time_passes_over_a_bucket_only_when_everything_written_was_read(topic):
    now = START + 600.0
    at = [now]
    topic.write((START, 1.0, START + 61), (START + 180, 4.0, START + 245))
    feed = topic.feed("closed=true&grace=2", now=lambda: at[0])
    assert drained(feed, NONE, START + 540)[0] == [(START, 1.0)], "the second came after its grace"
    at[0] += 60
    topic.write((START + 600, 5.0, START + 661))
    assert drained(feed, START, START + 660)[0] == [(START + 600, 5.0)]
    assert feed.problem == ""


def test_states_of_an_open_bar_are_sealed_when_the_next_begins(topic):
    topic.write((START, 1.0), (START, 2.0), (START, 3.0), (START + 60, 4.0))
    assert drained(topic.feed("grace=never"), NONE, START + 60)[0] == [(START, 3.0)]


def test_bars_that_always_come_too_late_are_a_problem_with_a_remedy(topic):
    topic.write(*[(ts, close, ts + 70) for ts, close in bars(0, 5)])
    feed = topic.feed("closed=true&grace=2", now=lambda: START + 372.0)
    _, late = drained(feed, NONE, START + 300)
    assert len(late) == 5
    assert "after their grace of 2.0 s" in feed.problem


def test_silence_is_told(topic):
    at = [START + 60.0]
    topic.write((START, 1.0, START + 60))
    feed = topic.feed("closed=true&grace=never", now=lambda: at[0])
    assert feed.silent_s() == 0.0
    drained(feed, NONE, START + 60)
    at[0] += 125
    feed.arrived(START, 10)
    assert (feed.silent_s(), feed.problem) == (125.0, "no bar for 125 s")
    topic.write((START + 60, "nan"), (START + 120, "inf"))
    told = "no bar for 125 s; records that are none: 2 × not a number"
    assert wait_until(lambda: feed.problem == told, 20)


def test_who_does_not_fetch_makes_it_pause(topic):
    count = 3 * ROOM
    topic.write(*bars(0, count))
    feed = topic.feed()
    feed.arrived(NONE, 1)
    wait_until(lambda: len(feed._bars) >= ROOM, 20)
    assert wait_until(lambda: feed._reader._is_paused, 20)
    assert len(feed._bars) < ROOM + 2000
    assert drained(feed, NONE, START + 60 * count, 8192)[0] == bars(0, count)


def test_a_topic_that_is_not_there_or_has_no_one_order_is_a_problem(topic, topic_on, shared_server):
    topic.name = "nowhere"
    feed = topic.feed()
    feed.arrived(NONE, 1)
    assert "nowhere" in wait_until(lambda: feed.problem, 20)
    feed = topic_on(shared_server("kafka"), partitions=3).feed()
    feed.arrived(NONE, 1)
    assert "3 partitions" in wait_until(lambda: feed.problem, 20)


def test_a_broker_that_dies_is_a_problem_until_it_is_back(topic_on, own_server):
    server = own_server("kafka")
    topic = topic_on(server)
    topic.write(*bars(0, 10))
    feed = topic.feed()
    assert drained(feed, NONE, START + 600)[0] == bars(0, 10)
    server.kill9()
    assert "Kafka at" in wait_until(lambda: feed.arrived(START + 540, 10) and feed.problem, 30)
    server.start()
    topic.write(*bars(10, 12))
    assert drained(feed, START + 540, START + 720)[0] == bars(10, 12)
    assert feed.problem == ""
    server.kill9()
    began = time.monotonic()
    feed.close()
    assert time.monotonic() - began < 5
    assert not feed._reader._thread.is_alive()


def test_a_broker_that_hangs_is_a_problem_and_passes_over_nothing(topic_on, own_server):
    server = own_server("kafka")
    topic, at = topic_on(server), [START + 62.0]
    topic.write((START, 1.0, START + 60))
    feed = topic.feed("closed=true&grace=2", now=lambda: at[0])
    drained(feed, NONE, START + 60)
    server.pause()
    at[0] += 600
    wait_until(lambda: "Kafka at" in feed.problem, 30)
    assert feed.arrived(START, 10).through == START + 60
    server.resume()
    drained(feed, START, START + 660)
    assert "Kafka" not in feed.problem


def test_nobody_there_is_a_problem_and_leaving_is_quick():
    feed = KafkaFeed(parse_topic("kafka://127.0.0.1:1/bars"), 60)
    feed.arrived(NONE, 1)
    assert "Kafka at 127.0.0.1:1" in wait_until(lambda: feed.arrived(NONE, 1) and feed.problem, 20)
    feed.close()
    assert not feed._reader._thread.is_alive()
