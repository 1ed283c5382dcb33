"""Clocks that are ahead."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """Put the clocks of :mod:`time`, :mod:`datetime` and pandas ahead.

    Names that a module took before, as by ``from time import time``, keep the true time: enter this before the
    module of interest is imported.
    """
    delta = dt.timedelta(seconds=seconds)
    replaced = {
        (time, "time"): lambda real=time.time: real() + seconds,
        (time, "time_ns"): lambda real=time.time_ns: real() + int(seconds * 1e9),
        (time, "localtime"): lambda at=None, real=time.localtime: real(time.time() if at is None else at),
        (time, "gmtime"): lambda at=None, real=time.gmtime: real(time.time() if at is None else at),
        (dt, "datetime"): _Datetime("datetime", (dt.datetime,), _datetime_methods(delta)),
        (dt, "date"): _Date("date", (dt.date,), {"today": classmethod(lambda _: _REAL_DATE.today() + delta)}),
    }
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        stamp = pandas.Timestamp
        for name in ("now", "utcnow", "today"):
            real = getattr(stamp, name)
            replaced[stamp, name] = lambda *a, real=real, **k: real(*a, **k) + delta
    patches = [mock.patch.object(owner, name, value) for (owner, name), value in replaced.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()


_REAL_DATETIME, _REAL_DATE = dt.datetime, dt.date


def _datetime_methods(delta: dt.timedelta) -> dict[str, Any]:
    return {
        "now": classmethod(lambda _, tz=None: _REAL_DATETIME.now(tz) + delta),
        "utcnow": classmethod(lambda _: _REAL_DATETIME.now(dt.UTC).replace(tzinfo=None) + delta),
        "today": classmethod(lambda _: _REAL_DATETIME.now() + delta),
    }


class _Datetime(type):
    """The real moments are instances of the replaced class too."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL_DATETIME)


class _Date(type):
    """The real days are instances of the replaced class too."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL_DATE)
