"""Keeps the roster: gives it the time and the epochs, and tells what it decides."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from qmtl.dagmanager.roster import GRACE, Assignment, Expiry, Roster, Session, remember
from qmtl.errors import NotAllowedError, QmtlError
from qmtl.telemetry.logs import logger
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.events import NODE_ASSIGNED, NODE_QUARANTINED, NODE_READY, SESSION_EXPIRED
from qmtl.wire.sessions import Attending, Beat, Join, Leave, NodeProgress, NodeStanding, Standing

#: A term has so many epochs; when so few are left, the manager takes another term, as if it had started anew.
_EPOCHS, _RESERVE = 1 << 20, 1 << 17
#: The roster is looked at so many times in a timeout, whoever beats.
_LOOKS = 20
#: Of a timeout: a manager that did not run for so long has heard nobody, and lets nobody expire for it.
_ASLEEP = 0.5
#: News that wait to be told; the oldest go.
_NEWS = 10_000
#: With this a node tells that it gave two answers.
_VIOLATION = "QM-DETERMINISM"
_WAITING = NodeProgress("waiting")

_log = logger("dagmanager")
Tell = Callable[[str, str, dict[str, object]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rules:
    """How sessions are held.

    Attributes
    ----------
    timeout_s : float
        A session is dead after so many seconds without a beat.
    broker_url : str
        What runners are told of where records are.
    clock : callable
        Seconds that never go back.
    """

    timeout_s: float = 5.0
    broker_url: str = ""
    clock: Callable[[], float] = time.monotonic


class Attendance:
    """Sessions of runners.

    Parameters
    ----------
    rules : Rules
    next_term : callable
        Takes a durable term, once for each life.
    tell : callable
        Publishes an event: kind, subject, data.
    metrics : Metrics
    """

    def __init__(self, rules: Rules, next_term: Callable[[], Awaitable[int]], tell: Tell, metrics: Metrics) -> None:
        self._rules, self._next_term, self._tell, self._metrics = rules, next_term, tell, metrics
        self._roster: Roster | None = None
        self._epochs: Iterator[int] = iter(())
        self._opening, self._stirred = asyncio.Lock(), asyncio.Event()
        self._looked = 0.0
        self._news: deque[tuple[str, str, dict[str, object]]] = deque(maxlen=_NEWS)
        self._handed: dict[str, tuple[int, float]] = {}
        self._quarantined: dict[str, str] = {}

    async def open(self) -> Roster:
        """Return the roster; the first time, and when epochs run out, under a new term."""
        async with self._opening:
            if self._roster is None or operator.length_hint(self._epochs) < _RESERVE:
                term = await self._next_term()
                self._looked = self._rules.clock()
                self._epochs = iter(range(term * _EPOCHS, (term + 1) * _EPOCHS))
                opens = self._looked + (GRACE * self._rules.timeout_s if term > 1 else 0.0)
                self._roster = Roster(self._rules.timeout_s, self._epochs, opens)
        return self._roster

    # ---------------------------------------------------------------------------- messages

    async def attend(self, message: Attending) -> Standing:
        """Take a message; see :class:`~qmtl.ports.dag_manager.DagManager`."""
        roster = await self.open()
        now = self._look(roster)
        session = roster.sessions.get(message.session_id)
        if session is not None and session.owner != message.owner:
            raise NotAllowedError("the session is somebody else's", status=403, hint="choose another session id")
        if isinstance(message, Join):
            roster.join(
                message.session_id,
                message.strategies,
                now,
                holds=message.holds,
                host=message.host,
                owner=message.owner,
            )
        elif isinstance(message, Leave):
            roster.leave(message.session_id)
        elif session is not None:
            self._beat(roster, session, message, now)
        self._learn(roster)
        return self._standing(roster, message)

    def _beat(self, roster: Roster, session: Session, beat: Beat, now: float) -> None:
        before = {topic: session.progress.get(topic, _WAITING) for topic in beat.progress}
        roster.beat(beat.session_id, now, beat.progress, blocked=beat.blocked, refused=beat.refused)
        changed = {
            topic: one
            for topic, one in beat.progress.items()
            if one.state != before[topic].state and topic in session.progress
        }
        if changed:
            self._changed(roster, session, changed)
        for topic in self._handed.keys() & beat.progress.keys():
            epoch, silent_since = self._handed[topic]
            if beat.progress[topic].state == "ready" and beat.progress[topic].epoch >= epoch:
                self._metrics.observe("handover_seconds", now - silent_since)
                del self._handed[topic]

    def _standing(self, roster: Roster, message: Attending) -> Standing:
        known = roster.sessions.get(message.session_id)
        if known is None:
            return Standing(False, "", {}, [], self._rules.timeout_s, self._rules.broker_url)
        version = roster.version(message.session_id)
        seen = isinstance(message, Beat) and message.seen == version
        return Standing(
            known=True,
            version=version,
            roles=None if seen else dict(known.roles),
            strategies=sorted(known.strategies),
            timeout_s=self._rules.timeout_s,
            broker_url=self._rules.broker_url,
        )

    async def standings(self, strategy_id: str) -> list[NodeStanding]:
        """Return how the nodes of a strategy stand; see :class:`~qmtl.ports.dag_manager.DagManager`."""
        roster = await self.open()
        self._look(roster)
        return standings(roster, strategy_id)

    async def end(self, strategy_id: str) -> None:
        """End a strategy: what only it used is produced no more."""
        roster = await self.open()
        roster.end(strategy_id)
        self._learn(roster)

    # -------------------------------------------------------------------------------- news

    async def run(self) -> None:
        """Look at the roster and tell news until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rules.timeout_s / _LOOKS):
                    await self._stirred.wait()
            self._stirred.clear()
            if self._roster is not None:
                self._look(self._roster)
                self._learn(self._roster)
            await self._publish()

    async def _publish(self) -> None:
        while self._news:
            try:
                await self._tell(*self._news.popleft())
            except QmtlError as error:  # events are news: whoever needs the truth asks for it
                _log.warning("an event was not published", why=error.message)

    def _look(self, roster: Roster) -> float:
        now = self._rules.clock()
        unheard, self._looked = now - self._looked, now
        if unheard > _ASLEEP * self._rules.timeout_s:
            roster.pardon(unheard)
        roster.expire(now)
        return now

    def _learn(self, roster: Roster) -> None:
        """Turn what the roster decided into events and metrics."""
        self._metrics.set("sessions", len(roster.sessions))
        found = [roster.news.popleft() for _ in range(len(roster.news))]
        for one in found:
            if isinstance(one, Expiry):
                topics = [*one.topics]
                self._add(SESSION_EXPIRED, "", {"session": one.session, "host": one.host, "topics": topics})
        assigned = [one for one in found if isinstance(one, Assignment)]
        for one in assigned:
            self._handed.pop(one.topic, None)
            if one.silent_since is not None:
                remember(self._handed, one.topic, (one.epoch, one.silent_since))
        for session, group in itertools.groupby(assigned, key=lambda one: one.session):
            host = roster.sessions[session].host if session in roster.sessions else ""
            epochs = {one.topic: one.epoch for one in group}
            self._add(NODE_ASSIGNED, "", {"session": session, "host": host, "topics": epochs})

    def _changed(self, roster: Roster, session: Session, changed: dict[str, NodeProgress]) -> None:
        """Tell each strategy which of its nodes became ready, and everybody concerned which were quarantined."""
        ready = {topic for topic, one in changed.items() if one.state == "ready"}
        for strategy_id, topics in session.strategies.items():
            if ready & topics:
                done = sum(session.progress.get(topic, _WAITING).state == "ready" for topic in topics)
                data = {"topics": sorted(ready & topics), "ready": done, "of": len(topics)}
                self._add(NODE_READY, strategy_id, data)
        for topic, one in changed.items():
            if one.state != "quarantined":
                self._quarantined.pop(topic, None)
            elif self._quarantined.get(topic) != one.reason:
                remember(self._quarantined, topic, one.reason)
                if one.reason.startswith(_VIOLATION):
                    self._metrics.count("determinism_violation_total")
                for strategy_id in users(roster, topic):
                    self._add(NODE_QUARANTINED, strategy_id, {"topic": topic, "reason": one.reason})

    def _add(self, kind: str, subject: str, data: dict[str, object]) -> None:
        self._news.append((kind, subject, data))
        self._stirred.set()


def users(roster: Roster, topic: str) -> list[str]:
    """Return the strategies that use a topic and are attended to."""
    sessions = roster.sessions.values()
    return sorted({k for session in sessions for k, topics in session.strategies.items() if topic in topics})


def standings(roster: Roster, strategy_id: str) -> list[NodeStanding]:
    """Return how the nodes of a strategy stand: as its latest runner says, and who produces them."""
    attending = [session for session in roster.sessions.values() if strategy_id in session.strategies]
    if not attending:
        return []
    own = max(attending, key=lambda session: session.joined)
    return [_standing(roster, own, topic) for topic in sorted(own.strategies[strategy_id])]


def _standing(roster: Roster, own: Session, topic: str) -> NodeStanding:
    told, name = own.progress.get(topic, _WAITING), roster.producer(topic)
    producer = roster.sessions[name] if name else None
    produced = producer.progress.get(topic) if producer else None
    return NodeStanding(
        topic=topic,
        producer=name,
        host=producer.host if producer else "",
        epoch=producer.roles[topic] if producer else 0,
        produced=produced.bucket if produced else None,
        read=told.bucket,
        state=told.state,
        done=told.done,
        need=told.need,
        reason=told.reason or ("" if producer else "no runner computes it now"),
        eta_s=told.eta_s,
    )
