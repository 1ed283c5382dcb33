"""Strategies with one planted leak each; ``bars.parquet`` lies beside this file."""

import datetime as dt
import json
import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from qmtl.sdk import Node, Strategy, StreamInput

BARS = Path(__file__).with_name("bars.parquet")
STATE = Path(__file__).with_name("state.json")
MODEL = Path(__file__).with_name("model.json")
SEEN = []
today = dt.date.today


def bars():
    return pd.read_parquet(BARS).set_index("ts")


def now(view):
    return int(view.timestamps("price")[-1])


def close(view):
    return view.array("price", "close")


class Leak(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price")
        self.add_nodes(
            [price, Node(input={"price": price}, compute_fn=self.function(), period=5, name="signal", version="1")]
        )


class FutureIndex(Leak):
    def function(self):
        prices = bars()["close"]
        return lambda view: float(prices.get(now(view) + 60, 0.0))


class WholeSampleNormalisation(Leak):
    def function(self):
        mean, deviation = bars()["close"].mean(), bars()["close"].std()
        return lambda view: float((close(view)[-1] - mean) / deviation)


class CentredWindow(Leak):
    def function(self):
        smooth = bars()["close"].rolling(11, center=True, min_periods=1).mean()
        return lambda view: float(smooth[now(view)])


class ShiftedBack(Leak):
    def function(self):
        returns = bars()["close"].pct_change().shift(-1).fillna(0.0)
        return lambda view: float(returns[now(view)])


class MutableGlobal(Leak):
    def function(self):
        def count(view):
            SEEN.append(close(view)[-1])
            return float(len(SEEN))

        return count


class WallClock(Leak):
    def function(self):
        return lambda view: float(close(view)[-1] * (1 + time.localtime().tm_hour))


class Weekday(Leak):
    def function(self):
        return lambda view: float(dt.datetime.now(dt.UTC).timestamp() // 86_400 % 7 + today().year)


class FileOfAnEarlierBar(Leak):
    def function(self):
        def remember(view):
            before = json.loads(STATE.read_text()) if STATE.exists() else 0.0
            STATE.write_text(json.dumps(float(close(view)[-1])))
            return before

        return remember


class ModelOfAnEarlierRun(Leak):
    def function(self):
        if MODEL.exists():
            level = json.loads(MODEL.read_text())["level"]
        else:
            level = 0.0
            MODEL.write_text(json.dumps({"level": float(bars()["close"].iloc[-1])}))
        return lambda view: float(close(view)[-1] > level)


class BestOfTheSample(Leak):
    def function(self):
        best = int(bars()["close"].idxmax())
        return lambda view: float(now(view) < best)


class LengthOfTheSample(Leak):
    def function(self):
        last = pq.read_table(BARS)["ts"].to_numpy()[-1]
        return lambda view: float(last - now(view))


class FittedOnEverything(Leak):
    def function(self):
        prices = bars()["close"].to_numpy()
        slope = np.polyfit(prices[:-1], np.diff(prices), 1)[0]
        return lambda view: float(slope * close(view)[-1])


class UnseededChance(Leak):
    def function(self):
        return lambda view: float(close(view)[-1] + random.random())


class CountedFromTheStart(Leak):
    def function(self):
        total = [0.0]

        def running(view):
            total[0] += close(view)[-1]
            return float(total[0])

        return running


class Ahead:
    async def fetch(self, start, end, *, node_id, interval):
        shifted = bars().shift(-3).ffill()
        return shifted[(shifted.index >= start) & (shifted.index < end)].reset_index()

    async def coverage(self, *, node_id, interval):
        index = bars().index
        return [(int(index[0]), int(index[-1]) + interval)]


class ProviderAhead(Strategy):
    def setup(self):
        price = StreamInput(tags=["BTC"], interval="1m", name="price", history_provider=Ahead())
        self.add_nodes([price])
