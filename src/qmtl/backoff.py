"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable


def backoff(attempt: int, first_s: float, longest_s: float, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait: doubling, capped, between half and all of it by a chance in [0, 1).

    Examples
    --------
    >>> backoff(0, 0.5, 4.0, lambda: 0.0), backoff(1, 0.5, 4.0, lambda: 0.0), backoff(9, 0.5, 4.0) <= 4.0
    (0.25, 0.5, True)
    """
    return min(longest_s, first_s * float(2**attempt)) * (0.5 + chance() / 2)
