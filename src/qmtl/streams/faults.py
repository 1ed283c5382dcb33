"""Faults of a feed, as text and as a schedule of arrivals. Pure: a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A late bar comes so many intervals after its grace, at most.
_LATE_BY = 5
#: A row that goes backwards is one of so many before.
_BACK_BY = 8


@dataclass(frozen=True)
class Faults:
    """How often something goes wrong, for each bar, and how badly.

    Attributes
    ----------
    late, double, reorder, missing, nan, backwards, stall : float
        Probability that a bar comes after its grace; twice; after the next one; never; as NaN; that an old bar comes
        again behind it; that nothing comes for a while from it on.
    stall_s : float
        How long nothing comes then, seconds.
    grace : float
        How long after its end a bar may come, seconds.
    repair : bool
        Late bars are published as revisions.
    seed : int
        Equal seeds, equal faults.
    """

    late: float = 0.0
    double: float = 0.0
    reorder: float = 0.0
    missing: float = 0.0
    nan: float = 0.0
    backwards: float = 0.0
    stall: float = 0.0
    stall_s: float = 600.0
    grace: float = 2.0
    repair: bool = False
    seed: int = 1


_CHANCES = ("late", "double", "reorder", "missing", "nan", "backwards", "stall")


def parse_faults(text: str) -> Faults:
    """Return faults from ``name=value`` with commas between.

    Raises
    ------
    UsageError
        A value that makes no sense.
    UnknownNameError
        No such fault.

    Examples
    --------
    >>> parse_faults("late=0.02, double=0.01, seed=7").late
    0.02
    """
    made: dict[str, Any] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, value = part.partition("=")
        if name not in (known := [one.name for one in fields(Faults)]):
            raise unknown_name("fault", name, known)
        made[name] = _read(name, value)
    return Faults(**made)


def _read(name: str, value: str) -> float | bool:
    try:
        number = int(value) if name in ("seed", "repair") else float(value)
    except ValueError:
        number = -1
    if not 0 <= number <= (1 if name in (*_CHANCES, "repair") else float("inf")):
        raise UsageError(f"fault {name}={value} makes no sense", hint="chances are from 0 to 1: late=0.02,seed=7")
    return bool(number) if name == "repair" else number


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row that comes: which bar, when (seconds UTC of the data), and whether its values are NaN."""

    at: float
    row: int
    is_nan: bool = False


def arrivals(ts: NDArray[np.int64], interval: int, faults: Faults) -> Iterator[Arrival]:
    """Yield the rows of recorded bars in the order in which they come.

    Parameters
    ----------
    ts : int64[T]
        Bucket starts.
    interval : int
        Seconds of a bucket.
    faults : Faults
    """
    hit = np.random.default_rng(faults.seed).random((len(ts), len(_CHANCES) + 1))
    happens = {name: hit[:, k] < getattr(faults, name) for k, name in enumerate(_CHANCES)}
    at = (ts + interval).astype(np.float64)
    at[happens["late"]] += faults.grace + interval * (1 + np.floor(_LATE_BY * hit[happens["late"], -1]))
    swapped = np.flatnonzero(happens["reorder"][:-1])
    at[swapped] = np.maximum(at[swapped], at[swapped + 1] + 1e-3)
    for k in np.flatnonzero(happens["stall"]):
        begun = ts[k] + interval
        at[(at >= begun) & (at < begun + faults.stall_s)] = begun + faults.stall_s
    comes = ~happens["missing"]
    again = comes & happens["double"]
    back = np.flatnonzero(comes & happens["backwards"])
    old = np.maximum(0, back - 1 - (_BACK_BY * hit[back, -1]).astype(np.int64))
    old, back = old[comes[old]], back[comes[old]]
    rows = np.concatenate([np.flatnonzero(comes), np.flatnonzero(again), old])
    moments = np.concatenate([at[comes], at[again], np.maximum(at[back], at[old])])
    is_nan = happens["nan"][rows]
    for k in np.lexsort((rows, moments)):
        yield Arrival(float(moments[k]), int(rows[k]), bool(is_nan[k]))
