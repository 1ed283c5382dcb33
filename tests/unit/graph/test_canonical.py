"""Canonical text: equal exactly for equal values of one type."""

import datetime as dt
import decimal
import enum
import fractions
import itertools
import pathlib
import re
import uuid
import zoneinfo
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.errors import UnhashableCodeError
from qmtl.graph.canonical import canonical

pytestmark = pytest.mark.identity


class Side(enum.Enum):
    LONG = 1
    SHORT = -1


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int
    b: int


@dataclass(frozen=True)
class Band:
    low: float
    high: float = 1.0


UTC, TOKYO = dt.UTC, zoneinfo.ZoneInfo("Asia/Tokyo")
VALUES = [
    None, ..., True, False, 0, 1, -1, 1.0, 0.0, -0.0, float("nan"), float("inf"), 1e300, 10**30, 1 + 2j,
    "", "1", "é", "e\u0301", "\ud800", b"", b"1",
    (), (1,), (1, 2), (2, 1), [], [1], [1, 2], {}, {"a": 1}, {"a": 2}, {1: 1}, set(), {1}, {1, 2},
    frozenset({1}), bytearray(b"1"), range(3), range(4), slice(1), deque([1]), deque([1], 3), OrderedDict(a=1),
    Counter("aab"), Counter("ab"), MappingProxyType({"a": 1}), SimpleNamespace(a=1),
    decimal.Decimal("1.0"), decimal.Decimal("1.00"), fractions.Fraction(1, 3), dt.date(2022, 1, 1), dt.timedelta(1),
    dt.datetime(2022, 1, 1),  # noqa: DTZ001
    dt.datetime(2022, 1, 1, tzinfo=UTC), dt.datetime(2022, 1, 1, tzinfo=TOKYO), dt.time(1, 2), UTC, TOKYO,
    pathlib.PurePosixPath("a"), re.compile("a"), re.compile("a", re.IGNORECASE), uuid.UUID(int=1),
    Side.LONG, Side.SHORT, Level.LOW,
    Pair(1, 2), Pair(2, 1), Band(0.0), Band(0.0, 2.0), np.float64(1.0), np.float32(1.0), np.int64(1), np.bool_(True),
    np.array([1.0]), np.array([[1.0]]), np.array([1]), np.array([1.0], "f4"),
    np.datetime64("2022-01-01"), np.dtype("f8"),
]  # fmt: skip


def test_no_two_of_them_have_one_text():
    texts = [canonical(value) for value in VALUES]
    same = [(VALUES[i], VALUES[j]) for i, j in itertools.combinations(range(len(VALUES)), 2) if texts[i] == texts[j]]
    assert same == []


def test_order_of_mappings_and_sets_does_not_count():
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({"x", "y", "z"}) == canonical({"z", "y", "x"})


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(nested, nested)
def test_equal_text_means_equal_repr(a, b):
    def plain(value):
        if isinstance(value, dict):
            return {k: plain(value[k]) for k in sorted(value)}
        return type(value)(plain(v) for v in value) if isinstance(value, (list, tuple)) else value

    assert (canonical(a) == canonical(b)) is (repr(plain(a)) == repr(plain(b)))


def loop():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [object(), loop(), deep(), lambda: 1, open, np.array([object()]), iter([1]), type("C", (), {})()]
)
def test_what_has_no_text_is_refused(value):
    with pytest.raises(UnhashableCodeError) as caught:
        canonical(value)
    assert caught.value.hint


def test_a_refusal_says_where():
    with pytest.raises(UnhashableCodeError, match=r"value\['a'\]\[1\]"):
        canonical({"a": [1, object()]})
