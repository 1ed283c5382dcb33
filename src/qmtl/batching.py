"""Does what many ask for at once in one go: whoever comes while the last batch is worked on is in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from qmtl.errors import QmtlError, UnavailableError

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects items and works on them together.

    Parameters
    ----------
    work : coroutine function
        Takes items; returns a result or an error of ours for each. An error that it raises is everybody's.
    size : int
        Items of one batch, at most.
    bound : int
        Items that wait, at most; more are told to come again.
    role : str
        The dependency that is named then.
    """

    def __init__(
        self, work: Callable[[list[T]], Awaitable[Sequence[R | QmtlError]]], *, size: int, bound: int, role: str
    ) -> None:
        self._work, self._size, self._bound, self._role = work, size, bound, role
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """Return the result for an item.

        Raises
        ------
        UnavailableError
            Too many wait; or what the work says.
        """
        if len(self._waiting) >= self._bound:
            raise UnavailableError("too many wait", dependency=self._role)
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        while self._waiting:
            count = min(self._size, len(self._waiting))
            batch = [one for one in (self._waiting.popleft() for _ in range(count)) if not one[1].done()]
            try:
                results = await self._work([item for item, _ in batch]) if batch else []
            except QmtlError as error:
                results = [error] * len(batch)
            except BaseException as error:  # whatever it is, nobody waits for ever
                _settle(batch, [UnavailableError(f"{error!r}", dependency=self._role)] * len(batch))
                raise
            _settle(batch, results)


def _settle(batch: Sequence[tuple[T, asyncio.Future[R]]], results: Sequence[R | QmtlError]) -> None:
    for (_, done), result in zip(batch, results, strict=True):
        if done.done():
            continue
        if isinstance(result, QmtlError):
            done.set_exception(result)
        else:
            done.set_result(result)
