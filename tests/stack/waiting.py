"""The one place where tests wait for other processes: they poll, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float, *, pause_s: float = 0.05, fail: bool = True) -> T:
    """Return the first true value of a condition; after the deadline fail, or return the last value."""
    ends = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > ends:
            assert not fail, f"it did not happen within {timeout_s:.0f} s"
            return value
        time.sleep(pause_s)
    return value


async def pause(seconds: float) -> None:
    """Let a client or a fault wait for its moment."""
    await asyncio.sleep(seconds)
