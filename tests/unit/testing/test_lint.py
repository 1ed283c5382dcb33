"""Rules about strategies, each with one that breaks it."""

import random
import threading
import time

import numpy as np
import pytest

from qmtl.indicators import sma
from qmtl.sdk import Node, Strategy, StreamInput
from qmtl.testing.lint import lint

SEEN = []


def strategy(*fns, named=True):
    class Mine(Strategy):
        def setup(self):
            price = StreamInput(tags=["BTC"], interval="1m", name="price" if named else None)
            nodes = [Node(input={"p": price}, compute_fn=fn, period=2, name=f"n{k}") for k, fn in enumerate(fns)]
            self.add_nodes([price, *nodes] if named else [sma(price.close, 2, name="mean"), *nodes])

    return Mine


def clean(view):
    return float(np.mean(view.array("p", "close")))


def remembers(view):
    SEEN.append(view.bucket)
    return float(len(SEEN))


def locked(view, lock=threading.Lock()):  # noqa: B008  (that is the fault)
    with lock:
        return 1.0


CASES = {
    "clean": (clean, []),
    "chance": (lambda view: random.random(), ["QM101"]),
    "chance of numpy": (lambda view: float(np.random.rand()), ["QM101"]),  # noqa: NPY002
    "clock": (lambda view: time.time(), ["QM101"]),
    "a field that is called like a function": (lambda view: view.latest("p")["x"] if view else view.open, []),
    "file": (lambda view: float(len(open("x").read())), ["QM101"]),  # noqa: PTH123, SIM115
    "state": (remembers, ["QM102"]),
    "no identity": (locked, ["QM002"]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_rule_finds_its_breach(name):
    fn, rules = CASES[name]
    found = lint(strategy(fn))
    assert [finding.rule for finding in found] == rules
    assert all(finding.hint for finding in found)


def test_a_stream_without_name_and_history_cannot_be_bound():
    assert [finding.rule for finding in lint(strategy(named=False))] == ["QM202"]
