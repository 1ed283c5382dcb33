"""Records of somebody else: what a URL says, and what a record must hold."""

from __future__ import annotations

import msgspec
import pytest

from qmtl.errors import UnknownNameError, UsageError
from qmtl.streams.records import Layout, UnreadableError, parse_topic


def test_a_url_says_where_and_how():
    url = "kafka://a:1,b:2/bars?closed=x&grace=5&unit=ms&ts=t&fields=close,volume&close=c&partition=3&repair=1"
    made = parse_topic(url + "&format=msgpack&security.protocol=SASL_SSL")
    assert (made.servers, made.name, made.partition, made.grace_s, made.repairs) == ("a:1,b:2", "bars", 3, 5.0, True)
    assert made.layout == Layout({"ts": "t", "close": "c", "volume": "volume"}, "x", "ms", "msgpack")
    assert made.client == {"security.protocol": "SASL_SSL"}


def test_what_a_url_does_not_say_is_usual():
    made = parse_topic("kafka://a:1/bars?closed=true")
    assert (made.grace_s, made.partition, made.repairs, made.layout.closed) == (2.0, None, False, True)
    assert made.layout.fields == ("open", "high", "low", "close", "volume")


@pytest.mark.parametrize("url", ["kafka:///bars", "kafka://a:1", "kafka://a:1/x/y", "kafka://a:1/x?grace=soon"])
def test_a_url_without_sense_is_refused(url):
    with pytest.raises(UsageError):
        parse_topic(url)


@pytest.mark.parametrize("query", ["gracee=2", "unit=h", "format=xml"])
def test_an_unknown_word_is_refused(query):
    with pytest.raises(UnknownNameError):
        parse_topic(f"kafka://a:1/x?{query}")


LAYOUT = Layout({"ts": "t", "close": "c"}, closed="x", unit="ms")


def test_numbers_may_come_as_text():
    assert LAYOUT.read(b'{"t": 60000, "c": "1.5", "more": []}') == (60.0, (1.5,), False)


def test_msgpack_says_the_same():
    packed = msgspec.msgpack.encode({"ts": 60, "close": 2, "closed": 1})
    assert Layout({"ts": "ts", "close": "close"}, True, format="msgpack").read(packed) == (60.0, (2.0,), True)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "not json"),
        (b"{", "not json"),
        (b"\xff", "not json"),
        (b"[1]", "not an object"),
        (b'{"c": 1}', "no 't'"),
        (b'{"t": 1, "c": null}', "'c' is not a number"),
        (b'{"t": 1, "c": true}', "'c' is not a number"),
        (b'{"t": 1, "c": "x"}', "'c' is not a number"),
    ],
)
def test_what_cannot_be_read_is_told(raw, why):
    with pytest.raises(UnreadableError, match=why):
        LAYOUT.read(raw)
