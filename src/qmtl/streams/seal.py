"""Sealing: when a bar is final, and what becomes of rows that come later. Pure: the time is passed in."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from qmtl.interval import format_interval

#: So many of the last sealed buckets are known by their values, to tell a repetition from a late bar.
_KNOWN = 1024

Row = tuple[float, ...]
Bar = tuple[int, Row]
Bars = list[Bar]


@dataclass(slots=True)
class Tally:
    """What became of the rows: each that arrived is counted in one of the others, or is the open bar.

    Attributes
    ----------
    arrived, sealed, late : int
        Rows that came; those that are final bars; those of buckets that were sealed or passed over before.
    duplicates : int
        Rows that said the same again, and states of an open bar that a newer one replaced.
    refused : Counter of str
        Rows that are no bars, by what is wrong with them.
    """

    arrived: int = 0
    sealed: int = 0
    late: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Sealer:
    """Turns rows in any order into bars in strictly growing order.

    A bar is sealed when its source says that it is closed, when a later bar arrives, or when its interval and the grace
    have passed; then a bucket without a bar is passed over. So at most one bar is open.

    Parameters
    ----------
    interval : int
        Seconds of a bucket.
    grace_s : float or None
        How long after its end a bar may come; None for ever.
    partial : bool
        Whether some values of a row may be NaN: in a universe, where a symbol has no bar.

    Attributes
    ----------
    through : int or None
        Everything that ends at or before it is sealed, seconds UTC; None while nothing has come.
    sealed, late : list of (bucket, values)
        What came of it since they were last taken.

    Examples
    --------
    >>> sealer = Sealer(60, grace_s=2.0)
    >>> sealer.put(0, (1.0,), at=30.0)
    >>> sealer.put(0, (2.0,), at=59.0)
    >>> sealer.put(60, (3.0,), at=61.0)
    >>> sealer.put(0, (4.0,), at=62.0)
    >>> sealer.tick(122.0)
    >>> sealer.sealed, sealer.late, sealer.through
    ([(0, (2.0,)), (60, (3.0,))], [(0, (4.0,))], 120)
    """

    def __init__(self, interval: int, grace_s: float | None, *, partial: bool = False) -> None:
        self.interval, self.grace_s, self._partial = interval, grace_s, partial
        self.through: int | None = None
        self.sealed: Bars = []
        self.late: Bars = []
        self.tally = Tally()
        self._open: Bar | None = None
        self._known: OrderedDict[int, Row] = OrderedDict()

    def put(self, bucket: float, values: Sequence[float], at: float, *, closed: bool = False) -> None:
        """Take a row.

        Parameters
        ----------
        bucket : int
            Start of its bucket, seconds UTC.
        values : sequence of float
        at : float
            When it arrived, seconds UTC.
        closed : bool
            The source says that the bar is final.
        """
        self.tick(at)
        if wrong := self._wrong(bucket, values, at):
            self.refuse(wrong)
            return
        self.tally.arrived += 1
        start, row = int(bucket), tuple(values)
        if self.through is not None and start < self.through:
            self._behind(start, row)
            return
        if self._open is not None:
            if self._open[0] == start:
                self.tally.duplicates += 1
            else:
                self._seal(*self._open)
        self._open, self.through = (start, row), start
        if closed:
            self._seal(start, row)

    def refuse(self, why: str) -> None:
        """Count something that came and is no bar."""
        self.tally.arrived += 1
        self.tally.refused[why] += 1

    def tick(self, at: float) -> None:
        """Seal or pass over what ended so long before a moment that its grace is over, too."""
        until = self._expired(at)
        if until is None or (self.through is not None and until <= self.through):
            return
        if self._open is not None:
            self._seal(*self._open)
        self.through = until

    def is_due(self, at: float) -> bool:
        """Return whether :meth:`tick` would seal or pass over something."""
        until = self._expired(at)
        return until is not None and (self.through is None or until > self.through)

    def taken(self) -> tuple[Bars, Bars]:
        """Return what was sealed and what was late since the last time, each in the order of arrival."""
        made = self.sealed, self.late
        self.sealed, self.late = [], []
        return made

    def _expired(self, at: float) -> int | None:
        if self.grace_s is None or not math.isfinite(at):
            return None
        return math.floor((at - self.grace_s) / self.interval) * self.interval

    def _wrong(self, bucket: float, values: Sequence[float], at: float) -> str:
        if not math.isfinite(bucket) or bucket % self.interval:
            return f"off the grid of {format_interval(self.interval)}"
        if bucket > at + self.interval:
            return "from the future"
        missing = [math.isnan(value) for value in values]
        if any(map(math.isinf, values)) or (all(missing) if self._partial else any(missing)):
            return "not a number"
        return ""

    def _behind(self, start: int, row: Row) -> None:
        if _same(self._known.get(start), row):
            self.tally.duplicates += 1
            return
        self.tally.late += 1
        self.late.append((start, row))
        self._remember(start, row)

    def _seal(self, start: int, row: Row) -> None:
        self.sealed.append((start, row))
        self.tally.sealed += 1
        self._open, self.through = None, start + self.interval
        self._remember(start, row)

    def _remember(self, start: int, row: Row) -> None:
        self._known[start] = row
        self._known.move_to_end(start)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)


def _same(known: Row | None, row: Row) -> bool:
    return known is not None and (known == row or repr(known) == repr(row))  # NaN differs from itself, not in text
