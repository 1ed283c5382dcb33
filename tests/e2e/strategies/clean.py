"""Fifty strategies without a leak, from the plain to the unusual; ``settings.json`` lies beside this file."""

import datetime as dt
import json
import math
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from qmtl.indicators import ema, macd, rsi, sma
from qmtl.sdk import Node, Strategy, StreamInput, TagQueryNode
from qmtl.transforms import crossover, lag, log_return, resample, rolling_max, rolling_mean, rolling_min, rolling_std

WEIGHTS = (0.5, 0.3, 0.2)


@dataclass(frozen=True)
class Band:
    low: float
    high: float

    def inside(self, value):
        return self.low <= value <= self.high


class Scorer:
    def __init__(self, k):
        self.k = k

    def score(self, view):
        return float(close(view).mean() * self.k)


def close(view):
    return view.array("price", "close")


def moment(view):
    return dt.datetime.fromtimestamp(int(view.timestamps("price")[-1]), dt.UTC)


def weighted(view, weights=WEIGHTS):
    return float(np.dot(close(view)[-3:], weights))


def settings():
    return json.loads(Path(__file__).with_name("settings.json").read_text())


def slope(view):
    values = close(view)
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def fields(view):
    values = close(view)
    return {"up": float(values[-1] > values[0]), "range": float(values.max() - values.min())}


def sometimes(view):
    return float(close(view)[-1]) if moment(view).minute % 3 == 0 else None


OPERATORS = [
    lambda p: sma(p.close, 7), lambda p: ema(p.close, 7), lambda p: rsi(p.close, 5), lambda p: macd(p.close, 3, 6, 2),
    lambda p: lag(p.close, 3), lambda p: log_return(p.close), lambda p: rolling_std(p.close, 9),
    lambda p: rolling_min(p.low, 9), lambda p: rolling_max(p.high, 9), lambda p: rolling_mean(p.volume, 4),
    lambda p: crossover(sma(p.close, 3), sma(p.close, 8)), lambda p: resample(p, "5m"), lambda p: p.close * 2 - p.open,
    lambda p: (p.close > p.open) & (p.volume > 3.0), lambda p: sma(resample(p, "5m").close, 3),
    lambda p: sma(sma(p.close, 3), 4), lambda p: ema(log_return(p.close), 5), lambda p: rolling_std(lag(p.close), 6),
    lambda p: p.high - p.low, lambda p: ~(p.close > sma(p.close, 10)), lambda p: rsi(sma(p.close, 3), 4),
    lambda p: p.close / lag(p.close, 5) - 1, lambda p: sma(p.close, 60), lambda p: rolling_max(p.high, 30) - p.close,
    lambda p: (sma(p.close, 5) > sma(p.close, 9)) * 1.0,
]  # fmt: skip
FUNCTIONS = [
    weighted, slope, fields, sometimes, partial(weighted, weights=(0.1, 0.2, 0.7)), Scorer(3.0).score,
    lambda v: float(close(v)[-1]), lambda v: float(close(v).mean()), lambda v: float(np.median(close(v))),
    lambda v: float(np.log(close(v)[-1] / close(v)[0])), lambda v: float(moment(v).hour),
    lambda v: float(moment(v).weekday() < 5), lambda v: float(math.sqrt(close(v).var())),
    lambda v: statistics.fmean(close(v).tolist()), lambda v: float(np.percentile(close(v), 90)),
    lambda v: float(pd.Series(close(v)).ewm(span=3).mean().iloc[-1]), lambda v: float(close(v).argmax()),
    lambda v: float((close(v) - close(v).mean())[-1] / (close(v).std() + 1e-9)),
    lambda v: float(Band(10.0, 1e6).inside(close(v)[-1])), lambda v: float(np.sign(np.diff(close(v))).sum()),
    lambda v: float(sorted(close(v).tolist())[2]), lambda v: float(len({*close(v).tolist()})),
]  # fmt: skip


def strategy(name, build):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        self.add_nodes([price, *build(price)])

    return type(name, (Strategy,), {"setup": setup, "__module__": __name__})


def from_operator(make, price):
    made = make(price)
    made.name = "signal"
    return [made]


def from_function(fn, price):
    return [Node(input={"price": price}, compute_fn=fn, period=5, name="signal")]


def from_settings(price):
    k = settings()["k"]
    return [Node(input={"price": price}, compute_fn=lambda v: float(close(v)[-1] * k), period=2, name="signal")]


def chained(price):
    mean = sma(price.close, 5, name="mean")
    highest = Node(input={"mean": mean}, compute_fn=lambda v: float(v.array("mean", "value").max()), period=4)
    highest.name = "signal"
    return [mean, highest]


def queried(price):
    query = TagQueryNode(["BTC"], interval="1m", period=3)
    return [Node(input=query, compute_fn=lambda v: float(sum(v[n][60][-1][1]["close"] for n in v)), name="signal")]


BUILDS = [
    *(partial(from_operator, make) for make in OPERATORS),
    *(partial(from_function, fn) for fn in FUNCTIONS),
    from_settings, chained, queried,
]  # fmt: skip
NAMES = [f"Clean{k}" for k in range(len(BUILDS))]
globals().update({name: strategy(name, build) for name, build in zip(NAMES, BUILDS, strict=True)})
