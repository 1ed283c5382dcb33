import numpy as np
import pytest

from qmtl.errors import DataFormatError, IntervalError, SchemaMismatchError, UnknownNameError, WindowError
from qmtl.sdk import NodeCache, StreamInput


@pytest.fixture
def price():
    return StreamInput(tags=["BTC"], interval="1m", name="price")


def filled(u, bars=5, period=3):
    cache = NodeCache(period)
    for k in range(bars):
        cache.append(u, 60, k * 60, {"close": float(k)})
    return cache


def test_only_the_last_period_bars_are_kept(price):
    cache = filled(price, bars=100)
    assert cache.view().array(price, "close").tolist() == [97.0, 98.0, 99.0]
    assert cache.get_slice(price, start=98 * 60) == [(5880, {"close": 98.0}), (5940, {"close": 99.0})]
    assert cache.latest(price) == (5940, {"close": 99.0})
    assert cache.last_timestamps() == {"price": 5940}


def test_memory_does_not_grow_with_the_bars(price):
    assert filled(price, bars=10).resident_bytes == filled(price, bars=10_000).resident_bytes


def test_ready_means_that_every_upstream_has_its_bars(price):
    cache = filled(price, bars=3)
    assert cache.ready()
    cache.append("other", "5m", 0, 1.0)
    assert not cache.ready()
    assert cache.view().array("other", "value").tolist() == [1.0]
    assert not NodeCache(1).ready()


def test_history_goes_under_live_bars(price):
    cache = NodeCache(4)
    cache.append(price, 60, 180, {"close": 3.0})
    cache.append(price, 60, 240, {"close": 4.0})
    cache.backfill_bulk(price, 60, [(k * 60, {"close": -float(k)}) for k in range(4)])
    assert cache.view().array(price, "close").tolist() == [-1.0, -2.0, 3.0, 4.0]
    assert cache.missing_flags() == {"price": False}


def test_a_skipped_bucket_is_flagged(price):
    cache = filled(price)
    cache.append(price, 60, 600, {"close": 1.0})
    assert cache.missing_flags() == {"price": True}


def test_whole_frames_are_kept_whole():
    cache = NodeCache(2)
    for k in range(3):
        cache.append("book", 60, k * 60, np.full((2, 2), k))
    assert cache.latest("book")[1].tolist() == [[2, 2], [2, 2]]
    assert len(cache.get_slice("book")) == 2


def test_the_view_is_read_only(price):
    view = filled(price).view()
    with pytest.raises(ValueError, match="read-only"):
        view.array(price, "close")[0] = 1.0
    with pytest.raises(WindowError):
        view[price] = 1


def test_the_tensor_has_four_labelled_axes(price):
    tensor = filled(price).as_xarray()
    assert tensor.dims == ("u", "i", "p", "f")
    assert tensor.sel(u="price", i=60, f="close").to_numpy().tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((60, 240, {"close": 1.0}), DataFormatError),  # a second time
        ((60, 301, {"close": 1.0}), DataFormatError),  # off the grid
        ((60, 300, None), DataFormatError),
        ((300, 300, {"close": 1.0}), IntervalError),
        ((60, 300, {"open": 1.0}), SchemaMismatchError),
    ],
)
def test_bad_bars_are_refused_and_change_nothing(price, arguments, error):
    cache = filled(price)
    with pytest.raises(error):
        cache.append(price, *arguments)
    assert cache.latest(price) == (240, {"close": 4.0})


def test_unknown_upstreams_and_periods_are_refused(price):
    with pytest.raises(UnknownNameError, match="price"):
        filled(price).latest("prise")
    with pytest.raises(WindowError):
        NodeCache(0)
    with pytest.raises(DataFormatError):
        filled(price).backfill_bulk(price, 60, [(60, {"close": 1.0}), (0, {"close": 1.0})])
