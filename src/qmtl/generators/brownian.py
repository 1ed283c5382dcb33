"""Brownian motion that can be asked for at any place: the same values whoever asks, from wherever."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Steps of a block, whose randomness is drawn at once.
BLOCK = 4096
#: There are 2 ** so many blocks: with steps of a second, 4,357 years.
_DEPTH = 25
_NODES, _STEPS = 1, 2
#: So many blocks are kept: streams that are read side by side are not drawn again.
_KEPT = 64


@lru_cache(_KEPT)
def block(seed: int, number: int) -> NDArray[np.float64]:
    """Return W at the steps ``number * BLOCK + (0 … BLOCK)``, both ends included; W(0) = 0, variance 1 a step.

    Block ends come from Lévy's construction, which halves an interval until it is a block; between them is a bridge.
    """
    start, end = _level(seed, number), _level(seed, number + 1)
    walk = np.zeros(BLOCK + 1)
    np.cumsum(_dice(seed, _STEPS, number).standard_normal(BLOCK), out=walk[1:])
    made: NDArray[np.float64] = walk + (np.arange(BLOCK + 1) / BLOCK) * (end - start - walk[-1]) + start
    made[-1] = end  # to the bit what the next block begins with
    made.flags.writeable = False
    return made


def _level(seed: int, boundary: int) -> float:
    """Return W at the beginning of a block."""
    low, high = 0, 1 << _DEPTH
    at_low, at_high = 0.0, _normal(seed, 0) * math.sqrt(high * BLOCK)
    while low < boundary < high:
        middle = (low + high) // 2
        half = (at_low + at_high) / 2 + _normal(seed, middle) * math.sqrt((high - low) * BLOCK / 4)
        if boundary < middle:
            high, at_high = middle, half
        else:
            low, at_low = middle, half
    return at_low if boundary == low else at_high


@lru_cache(_DEPTH * _KEPT)
def _normal(seed: int, place: int) -> float:
    return float(_dice(seed, _NODES, place).standard_normal())


def _dice(seed: int, use: int, place: int) -> np.random.Generator:
    """Return randomness of one place: counters lie so far apart that no two places ever draw the same."""
    return np.random.Generator(np.random.Philox(key=(seed << 8) | use, counter=place << 64))


def brownian(seed: int, first: int, last: int) -> NDArray[np.float64]:
    """Return W at the steps ``first … last``, both included.

    Examples
    --------
    >>> whole = brownian(7, 0, 10_000)
    >>> bool((whole[4000:9001] == brownian(7, 4000, 9000)).all()), float(whole[0])
    (True, 0.0)
    """
    made = np.empty(last - first + 1)
    at = first
    while at <= last:
        number = at // BLOCK
        stop = min(last + 1, (number + 1) * BLOCK)
        made[at - first : stop - first] = block(seed, number)[at - number * BLOCK : stop - number * BLOCK]
        at = stop
    return made
