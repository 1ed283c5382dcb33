"""Makes submissions durable: many at a time, one transaction and one push for all that came together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from qmtl.batching import Batcher
from qmtl.errors import UnavailableError
from qmtl.ports.strategy_store import Accepted, StrategyStore, Submission
from qmtl.ports.work_queue import WorkQueue

#: Submissions that wait at most; more are told to come again.
_BOUND = 5000
_BATCH = 128
_DEADLINE_S = 8.0


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a submission has to be before it is acknowledged."""

    strategies: StrategyStore
    queue: WorkQueue


class Ingest:
    """Accepts submissions; ``woken`` is set when there is work."""

    def __init__(self, stores: Stores, *, ttl_s: float) -> None:
        self._stores, self._ttl_s = stores, ttl_s
        self._accept = Batcher(self._store, size=_BATCH, bound=_BOUND, role="gateway")
        self._asked = stores.strategies.role
        self.woken = asyncio.Event()

    async def accept(self, submission: Submission) -> Accepted:
        """Return when a submission is durable in both stores.

        Raises
        ------
        UnavailableError
            A store does not answer, or too many wait. The submission may be durable in the first store; the same
            submission again gets the same id.
        """
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await self._accept(submission)
        except TimeoutError:
            raise UnavailableError("the stores do not answer in time", dependency=self._asked) from None

    async def _store(self, batch: list[Submission]) -> Sequence[Accepted]:
        self._asked = self._stores.strategies.role
        accepted = await self._stores.strategies.accept(batch, self._ttl_s)
        self._asked = self._stores.queue.role
        await self._stores.queue.push([(one.seq, one.strategy_id) for one in accepted if one.created])
        self.woken.set()
        return accepted
