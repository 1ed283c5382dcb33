"""Takes strategies from the queue and carries them to their next resting state.

A worker may die or be paused anywhere. What it does is repeatable, and what it writes carries the fencing token of
its lock: a strategy is mapped once, whoever maps it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace

from qmtl.errors import (
    ConflictError,
    DocumentError,
    EndedError,
    NotAllowedError,
    QmtlError,
    RefusedError,
    ServiceError,
    UnavailableError,
)
from qmtl.gateway.lifecycle import FINAL, UNFINISHED, advance
from qmtl.gateway.parts import Parts, Settings
from qmtl.ports.event_bus import EventBus
from qmtl.ports.strategy_store import Placement, Stored, Transition
from qmtl.telemetry.logs import logger
from qmtl.telemetry.tracing import span
from qmtl.wire.events import PROGRESS, QUEUE_MAP, Event, event
from qmtl.wire.messages import RUN_TYPES, DiffAnswer, DiffRequest, Sentinel

#: Idle workers look for work so often, in seconds; a submission in the same process wakes them at once.
_POLL_S = 0.25
#: Every so often, strategies that should be in the queue are looked for in the truth, in seconds.
_SWEEP_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_BATCH = 64
_PAGE = 1000

#: How work on a strategy begins.
_FIRST = {"queued": "pick", "diffing": "take_over"}

#: What passes, or is mended by an operator: work waits for it.
_LATER = (UnavailableError, NotAllowedError, RefusedError, ConflictError)
#: A fault of the program, there or here, is the end of one strategy and nobody else's.
_FAULTS = (ServiceError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)

_log = logger("gateway")


class Worker:
    """One loop; several may run, in one process or many."""

    def __init__(self, parts: Parts, settings: Settings, woken: asyncio.Event) -> None:
        self._parts, self._settings, self._woken = parts, settings, woken
        self._pause_s = 0.0
        self._swept_at = 0.0

    async def run(self) -> None:
        """Work until cancelled; what goes wrong outside is waited for, longer each time."""
        while True:
            try:
                busy = await self._round()
                self._pause_s = 0.0
            except QmtlError as error:
                self._pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, 2 * self._pause_s))
                _log.warning("worker waits", why=error.message, seconds=self._pause_s)
                await asyncio.sleep(self._pause_s)
                continue
            if not busy:
                await self._rest()

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await self._woken.wait()
        self._woken.clear()

    async def _round(self) -> bool:
        await self._refill()
        claimed = await self._parts.queue.claim(_BATCH, self._settings.lease_s)
        if claimed:
            await self._work(claimed)
        return len(claimed) == _BATCH

    # ------------------------------------------------------------------------------ nothing lost

    async def _refill(self) -> None:
        """Fill the queue from the truth: when it lost its memory, and now and then in case a push was lost."""
        fresh = await self._parts.queue.is_fresh()
        now = self._parts.now()
        if not fresh and now - self._swept_at < _SWEEP_S:
            return
        self._swept_at = now
        after = 0
        while page := await self._parts.strategies.unfinished(UNFINISHED, after, _PAGE):
            added = await self._parts.queue.push(page)
            if added:
                self._parts.metrics.count("lost_requests_total", added)
                _log.info("put back into the queue", strategies=added, queue_was_empty=fresh)
            after = page[-1][0]
        if fresh:
            await self._parts.queue.settle()
        self._parts.metrics.set("gateway_queue_depth", await self._parts.queue.depth())

    # ------------------------------------------------------------------------------------- work

    async def _work(self, claimed: list[str]) -> None:
        tokens = await self._parts.locks.acquire([f"lock:{one}" for one in claimed], self._settings.lease_s)
        mine = {name.removeprefix("lock:"): token for name, token in tokens.items()}
        try:
            async with asyncio.timeout(self._settings.lease_s):
                settled = await self._settle(mine)
            await self._parts.queue.done(settled)
        except TimeoutError:
            raise UnavailableError("work took longer than its lease", dependency=self._parts.dag_manager.role) from None
        finally:
            with contextlib.suppress(QmtlError):  # locks end by themselves
                await self._parts.locks.release(tokens)

    async def _settle(self, mine: Mapping[str, int]) -> list[str]:
        """Carry strategies on until each rests; return those that do."""
        rested: list[str] = []
        pending = list(mine)
        while pending:
            stored = await self._parts.strategies.get(pending)
            resting = [one for one in pending if one not in stored or stored[one].state not in UNFINISHED]
            rested += resting
            moving = [stored[one] for one in pending if one not in resting]
            pending = await self._step(moving, mine) if moving else []
        return rested

    async def _step(self, moving: list[Stored], mine: Mapping[str, int]) -> list[str]:
        """Take one step with each; return those to look at again. A step that was refused is somebody else's now."""
        begun = await self._take(
            [self._transition(one, _FIRST[one.state], mine) for one in moving if one.state in _FIRST]
        )
        diffing = [one for one in moving if one.strategy_id in begun]
        dags = await self._parts.strategies.dags([one.strategy_id for one in diffing]) if diffing else {}
        draining = [one for one in moving if one.state == "draining"]
        steps = await asyncio.gather(
            *(self._map(one, dags[one.strategy_id], mine) for one in diffing),
            *(self._drain(one, mine) for one in draining),
        )
        taken = await self._take([step for step in steps if step is not None])
        missing = sum(step is None for step in steps)
        if missing:
            raise UnavailableError(f"{missing} strategies wait for the DAG manager", dependency="dagmanager")
        return [one.strategy_id for one in (*diffing, *draining) if one.strategy_id in taken]

    async def _map(self, stored: Stored, dag: bytes, mine: Mapping[str, int]) -> Transition | None:
        """Ask the DAG manager; None if it does not answer now."""
        began = replace(stored, state="diffing")
        request = DiffRequest(
            strategy_id=stored.strategy_id,
            run_type=RUN_TYPES[stored.run_type],
            dag=dag,
            owner=stored.owner,
            sentinel=_sentinel(stored) if self._settings.sentinels else None,
        )
        try:
            with span("gateway.map", stored.meta.get("trace", {}), {"qmtl.strategy_id": stored.strategy_id}):
                answer = await self._parts.dag_manager.diff(request)
        except DocumentError as error:
            return self._transition(began, "reject", mine, detail=f"{error.pointer}: {error.message}")
        except EndedError:
            return self._transition(began, "drain", mine)
        except _LATER as error:
            _log.warning("diff waits", strategy_id=stored.strategy_id, why=error.message)
            return None
        except _FAULTS as error:
            _log.error("diff failed", strategy_id=stored.strategy_id, exc_info=error)
            return self._transition(began, "fail", mine, detail=f"the DAG manager failed: {error}")
        return self._transition(began, "mapped", mine, placement=_placement(answer))

    async def _drain(self, stored: Stored, mine: Mapping[str, int]) -> Transition | None:
        try:
            await self._parts.dag_manager.release(stored.strategy_id)
        except _LATER as error:
            _log.warning("release waits", strategy_id=stored.strategy_id, why=error.message)
            return None
        return self._transition(stored, "stop", mine)

    def _transition(
        self,
        stored: Stored,
        cause: str,
        mine: Mapping[str, int],
        *,
        placement: Placement | None = None,
        detail: str | None = None,
    ) -> Transition:
        return transition(
            stored, cause, fence=mine[stored.strategy_id], at=self._parts.now(), placement=placement, detail=detail
        )

    async def _take(self, steps: list[Transition]) -> set[str]:
        """Write steps and tell about those that happened; return their strategies."""
        if not steps:
            return set()
        happened = await self._parts.strategies.transition(steps)
        taken = [step for step, ok in zip(steps, happened, strict=True) if ok]
        self._parts.metrics.count("gateway_illegal_transitions_total", len(steps) - len(taken))
        await tell(self._parts.bus, taken)
        return {step.strategy_id for step in taken}


def transition(
    stored: Stored,
    cause: str,
    *,
    fence: int,
    at: float,
    placement: Placement | None = None,
    detail: str | None = None,
) -> Transition:
    """Make the step that an event causes.

    Raises
    ------
    EndedError
        The life cycle has no such step.
    """
    target = advance(stored.state, cause)
    if target is None:
        raise EndedError(f"strategy {stored.strategy_id} is {stored.state}: it cannot {cause}")
    return Transition(
        strategy_id=stored.strategy_id,
        source=stored.state,
        target=target,
        cause=cause,
        fence=fence,
        at=at,
        placement=placement,
        detail=detail,
        frees_key=target in FINAL or target == "draining",
    )


async def tell(bus: EventBus, taken: list[Transition]) -> None:
    """Publish steps that happened. The event log is the truth: a bus that is down delays news, not work."""
    events = [one for step in taken for one in _events(step)]
    try:
        await bus.publish(events)
    except UnavailableError as error:
        _log.warning("events were not published", count=len(events), why=error.message)


def _events(step: Transition) -> list[Event]:
    def made(kind: str, data: dict[str, object]) -> Event:
        key = f"{step.strategy_id}/{step.target}/{step.fence}/{kind}"
        return event(kind, source="/qmtl/gateway", at=step.at, subject=step.strategy_id, data=data, key=key)

    progress = {"strategy_id": step.strategy_id, "from": step.source, "to": step.target, "cause": step.cause}
    if step.detail:
        progress["detail"] = step.detail
    mapped = [made(QUEUE_MAP, {"queue_map": step.placement.queue_map})] if step.placement else []
    return [made(PROGRESS, dict(progress)), *mapped]


def _sentinel(stored: Stored) -> Sentinel:
    """Return the version that a submission names, or one by the content of its graph."""
    given = stored.meta.get("version") or {}
    given = {"version": given} if isinstance(given, str) else given
    name = str(given.get("version") or f"dag-{stored.dag_hash[:12]}")
    return Sentinel(name, str(given.get("commit_hash", "")), str(given.get("release_tag", "")))


def _placement(answer: DiffAnswer) -> Placement:
    return Placement(
        queue_map=answer.queue_map,
        actions=answer.actions,
        new=answer.new,
        reused=answer.reused,
        buffering=answer.buffering,
        sentinel_id=answer.sentinel_id,
    )
