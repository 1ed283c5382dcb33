"""Why two nodes differ: one line for each reason."""

import pytest

from qmtl.graph.difference import difference
from qmtl.graph.fingerprint import Fingerprint, explain
from qmtl.indicators import ema, sma
from qmtl.sdk import Node, StreamInput


def price(tag="BTC", interval="1m"):
    return StreamInput(tags=[tag], interval=interval, name="price")


def scaled(k):
    def fn(view):
        return view["price"] * k

    return fn


def own(k=2, stream=None, **options):
    return Node(
        **{"input": {"price": price() if stream is None else stream}, "compute_fn": scaled(k), "period": 3} | options
    )


CASES = {
    "nothing": (own(), own(name="other name"), []),
    "closure": (own(2), own(3), ["closure k: 2 → 3"]),
    "input": (own(), own(stream=price("ETH")), ['input price ← other StreamInput (tags: ["BTC"] → ["ETH"])']),
    "window": (own(), own(period=4), ["input price period: 3 → 4"]),
    "key": (own(), Node(input={"p": price()}, compute_fn=scaled(2), period=3), ["input p key: price → p"]),
    "config": (own(config={"a": 1}), own(config={"a": 2}), ["config.a: 1 → 2"]),
    "schema": (own(), own(schema={"value": "float64"}), ['schema: None → {"value": "float64"}']),
    "parameter": (sma(price().close, 3), sma(price().close, 4), ["params.period: 3 → 4"]),
    "field": (sma(price().close, 3), sma(price().open, 3), ["input 0 field: close → open"]),
    "operator": (sma(price().close, 3), ema(price().close, 3), ["node type: sma → ema"]),
    "constant": (price().close + 1, price().close + 2, ["input 1: constant 1 → constant 2"]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_reason_is_one_line(name):
    a, b, lines = CASES[name]
    assert difference(a, b) == lines
    assert (a.node_id == b.node_id) is (not lines)


def test_a_helper_in_another_module_is_compared_and_not_listed_twice():
    a = Fingerprint("1", {"source": "sha256:0", "helper one.f": "sha256:1", "helper one.f global K": "2"})
    b = Fingerprint("2", {"source": "sha256:0", "helper two.f": "sha256:1", "helper two.f global K": "3"})
    assert explain(a, b) == ["helper one.f global K → helper two.f global K: 2 → 3"]
