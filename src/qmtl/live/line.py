"""A loop's line to its log: it waits for what comes, but for no longer than the loop has time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from qmtl.errors import UnavailableError
from qmtl.ports.record_log import Entry, RecordLog
from qmtl.telemetry.logs import logger

#: Entries that one turn reads from all topics together, or one of each.
_ENTRIES = 64
#: One that has been woken waits no longer than this, in seconds.
_SOON_S = 0.01
#: A loop that is told to stop waits so long for an answer of the log, in seconds.
_LAST_S = 1.0

T = TypeVar("T")

_log = logger("live")


@dataclass(slots=True)
class Trouble:
    """Why a loop does not get on, and since when."""

    reason: str = ""
    since: float = 0.0

    def told(self, reason: str, now: float) -> None:
        """Note a reason; it began when there was none before."""
        if not self.reason:
            self.since = now
        self.reason = reason

    def over(self) -> None:
        """Forget it."""
        self.reason = ""


class Line:
    """See the module; ``wake_soon`` and ``hang_up`` may be called by other threads.

    Attributes
    ----------
    trouble : Trouble
        That the log does not answer.
    """

    def __init__(self, log: RecordLog, now: Callable[[], float]) -> None:
        self._log, self._now = log, now
        self._stopping = threading.Event()
        self._home: asyncio.AbstractEventLoop | None = None
        self._patience: asyncio.Timeout | None = None
        self._rest: asyncio.Timeout | None = None
        self.trouble = Trouble()

    def open(self) -> None:
        """Wait in the event loop that runs now."""
        self._home = asyncio.get_running_loop()

    @property
    def is_hung_up(self) -> bool:
        """Whether the loop ends."""
        return self._stopping.is_set()

    def hang_up(self) -> None:
        """Wait for nothing any more; a log that does not answer is given up soon."""
        self._stopping.set()
        self._soon(self._hurry)

    def wake_soon(self) -> None:
        """End the wait of now."""
        self._soon(self.wake)

    def _soon(self, call: Callable[[], None]) -> None:
        if self._home is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._home.call_soon_threadsafe(call)

    def wake(self) -> None:
        """End the wait of now; to be called in the event loop."""
        if self._rest is not None:
            self._rest.reschedule(0.0)

    def _hurry(self) -> None:
        self.wake()
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + _LAST_S)

    async def read(
        self, wanted: Mapping[str, int], wait_s: float, *, is_urged: bool
    ) -> Mapping[str, Sequence[Entry]] | None:
        """Wait for entries, but not when something comes from outside; None when the log does not answer."""
        if is_urged or self.is_hung_up:
            wait_s = min(wait_s, _SOON_S)
        try:
            async with asyncio.timeout(None) as self._rest:
                if wanted:
                    return await self.ask(self._log.read(wanted, max(_ENTRIES, len(wanted)), wait_s))
                await asyncio.sleep(wait_s)
        except TimeoutError:
            pass  # woken
        finally:
            self._rest = None
        return {}

    async def ask(self, call: Awaitable[T]) -> T | None:
        """Return what the log answers, or None when it does not: that is said, and tried again later."""
        try:
            async with asyncio.timeout(_LAST_S if self.is_hung_up else None) as self._patience:
                answer = await call
        except (UnavailableError, TimeoutError) as error:
            why = str(error) or "it has not answered before the end"
            if not self.trouble.reason:
                _log.warning("the log does not answer", why=why)
            self.trouble.told(why, self._now())
            return None
        finally:
            self._patience = None
        self.trouble.over()
        return answer
