"""Who computes what. Pure: sessions come, beat and go; time and epochs are passed in, and nothing else happens.

A topic has one producer at most: a session that can compute its node. Who has a role keeps it as long as it lives, can
do it and is not held up; otherwise the first of the others is promoted at once, with an epoch that was never given
before. Stand-bys come in the order in which they joined, so what one runner takes over stays together.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from qmtl.wire.sessions import NodeProgress

T = TypeVar("T")

#: A manager that begins anew waits so much of a timeout for those who hold roles, before it gives them to others.
GRACE = 0.2
#: So many ended strategies, last holders and assignments that nobody took are remembered.
_BOUND = 100_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """A topic got a producer; ``silent_since`` is the last beat of the one before, if that one died."""

    topic: str
    session: str
    epoch: int
    silent_since: float | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """A session died with roles; nothing was heard of it after ``silent_since``."""

    session: str
    host: str
    topics: tuple[str, ...]
    silent_since: float


@dataclass(slots=True)
class Session:
    """A runner that lives."""

    owner: str
    host: str
    joined: int
    strategies: dict[str, frozenset[str]] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    progress: dict[str, NodeProgress] = field(default_factory=dict)
    version: int = 0

    @property
    def topics(self) -> set[str]:
        """Topics that it can compute."""
        return set().union(*self.strategies.values())


def chosen(able: Collection[str], holder: str | None, busy: Collection[str]) -> str | None:
    """Return who produces a topic: its holder if it may, else the first; who is busy elsewhere only if nobody else can.

    Examples
    --------
    >>> chosen(["a", "b"], "b", []), chosen(["a", "b"], "b", ["b"]), chosen(["b"], "b", ["b"]), chosen([], None, [])
    ('b', 'a', 'b', None)
    """
    if holder in able and holder not in busy:
        return holder
    free = (one for one in able if one not in busy)
    return next(free, holder if holder in able else next(iter(able), None))


class Roster:
    """Sessions and their roles.

    Parameters
    ----------
    timeout : float
        A session that has not beaten for so long is dead.
    epochs : iterator of int
        Gives the next epoch, above all that any life of the manager has given.
    opens : float
        Until then topics go only to those who held them in another life.
    """

    def __init__(self, timeout: float, epochs: Iterator[int], opens: float = 0.0) -> None:
        self.timeout, self._epochs, self.opens = timeout, epochs, opens
        self.life = next(epochs)
        self.sessions: dict[str, Session] = {}
        self.news: deque[Assignment | Expiry] = deque(maxlen=_BOUND)
        self._beaten: dict[str, float] = {}
        self._blocked: dict[str, str] = {}
        self._able: dict[str, dict[str, None]] = {}
        self._producer: dict[str, str] = {}
        self._last: dict[str, tuple[str, int]] = {}
        self._ended: dict[str, None] = {}
        self._silent: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._joined = self._lost = 0
        self._now = opens - 1.0

    # ---------------------------------------------------------------------------- sessions

    def knows(self, session_id: str) -> bool:
        """Whether a session is alive here."""
        return session_id in self.sessions

    def join(
        self,
        session_id: str,
        strategies: Mapping[str, Collection[str]],
        now: float,
        *,
        holds: Mapping[str, int] | None = None,
        host: str = "",
        owner: str = "",
    ) -> None:
        """Let a session in, or replace what it can do: for each strategy, topics.

        What it says that it ``holds`` it keeps with its epoch, if nobody else was given it since.
        """
        if not self.sessions and self._lost > 1:  # all were cut off, rather than all have died
            self.opens = now + GRACE * self.timeout
        self._pass(now)
        session = self.sessions.get(session_id)
        if session is None:
            self._joined += 1
            session = self.sessions[session_id] = Session(owner, host, self._joined)
        before = session.topics
        session.host = host or session.host
        session.strategies = {k: frozenset(v) for k, v in strategies.items() if k not in self._ended}
        session.progress = {topic: one for topic, one in session.progress.items() if topic in session.topics}
        session.version += 1
        self._lost = 0
        self._seen(session_id, now)
        self._enable(session_id, before, session.topics)
        for topic, epoch in (holds or {}).items():
            if topic in session.topics and topic not in self._producer and self._may_keep(session_id, topic, epoch):
                self._silent.pop(topic, None)
                self._give(topic, session_id, epoch)
        self._settle(sorted(before | session.topics))

    def beat(
        self,
        session_id: str,
        now: float,
        progress: Mapping[str, NodeProgress] | None = None,
        *,
        blocked: str = "",
        refused: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Take a sign of life; return what the session produces, with epochs. KeyError: it is not known.

        ``refused`` has topics whose log knows a newer epoch than the one that the session has: it is given another.
        """
        session = self.sessions[session_id]
        self._pass(now)
        self._seen(session_id, now)
        topics = session.topics if progress else set()
        session.progress |= {topic: one for topic, one in (progress or {}).items() if topic in topics}
        for topic, epoch in (refused or {}).items():
            if session.roles.get(topic) == epoch:
                self._give(topic, session_id, next(self._epochs))
        if blocked != self._blocked.get(session_id, ""):
            self._blocked.pop(session_id, None)
            self._blocked |= {session_id: blocked} if blocked else {}
            self._settle(sorted(session.topics))
        return dict(session.roles)

    def leave(self, session_id: str) -> None:
        """Let a session go: its roles go to others at once."""
        if session_id in self.sessions:
            self._settle(sorted(self._gone(session_id).topics))

    def expire(self, now: float) -> list[str]:
        """Let those go who have not beaten for the timeout; return them."""
        self._pass(now)
        dead = [one for one, _ in itertools.takewhile(lambda one: now - one[1] >= self.timeout, self._beaten.items())]
        topics: set[str] = set()
        for session_id in dead:  # all of them first: a role does not go to one that is dead too
            beaten = self._beaten[session_id]
            session = self._gone(session_id)
            self.news.append(Expiry(session_id, session.host, tuple(session.roles), beaten))
            for topic in session.roles:
                remember(self._silent, topic, beaten)
            topics |= session.topics
        self._lost += len(dead)
        self._settle(sorted(topics))
        return dead

    def _gone(self, session_id: str) -> Session:
        session = self.sessions.pop(session_id)
        del self._beaten[session_id]
        self._blocked.pop(session_id, None)
        self._enable(session_id, session.topics, set())
        return session

    def pardon(self, seconds: float) -> None:
        """Forgive everybody a silence: it was the manager that did not listen for so long."""
        self._beaten = {session_id: beaten + seconds for session_id, beaten in self._beaten.items()}

    def end(self, strategy_id: str) -> None:
        """End a strategy, for good: what only it used is produced no more."""
        remember(self._ended, strategy_id, None)
        for session_id, session in self.sessions.items():
            if strategy_id in session.strategies:
                before = session.topics
                del session.strategies[strategy_id]
                session.version += 1
                self._enable(session_id, before, session.topics)
                self._settle(sorted(before))

    # ------------------------------------------------------------------------------- roles

    def producer(self, topic: str) -> str | None:
        """Return the session that computes a topic."""
        return self._producer.get(topic)

    def version(self, session_id: str) -> str:
        """Return what changes whenever roles or strategies of a session do; no two lives give the same."""
        return f"{self.life}.{self.sessions[session_id].joined}.{self.sessions[session_id].version}"

    def _seen(self, session_id: str, now: float) -> None:
        self._beaten.pop(session_id, None)
        self._beaten[session_id] = now  # at the end: the first is who has been silent longest

    def _pass(self, now: float) -> None:
        """Let time pass: behind the grace, everybody may take what waits."""
        self._now = now
        if now >= self.opens and self._waiting:
            waiting, self._waiting = sorted(self._waiting), set()
            self._settle(waiting)

    def _enable(self, session_id: str, before: Collection[str], after: Collection[str]) -> None:
        for topic in sorted(set(before) - set(after)):
            self._able[topic].pop(session_id, None)
            if not self._able[topic]:
                del self._able[topic]
        for topic in sorted(set(after) - set(before)):
            self._able.setdefault(topic, {})[session_id] = None

    def _may_keep(self, session_id: str, topic: str, epoch: int) -> bool:
        """Whether an epoch is of another life, or the last that this one gave."""
        last = self._last.get(topic)
        return 0 < epoch < self.life if last is None else last == (session_id, epoch)

    def _settle(self, topics: Iterable[str]) -> None:
        """Give each topic to whom it belongs now."""
        for topic in topics:
            able, holder = self._able.get(topic, {}), self._producer.get(topic)
            busy = {session_id for session_id, blocked in self._blocked.items() if blocked != topic}
            taker = chosen(able, holder, busy)
            if taker == holder:
                continue
            if taker is None:
                self._take(topic)
            elif holder is None and self._now < self.opens:
                self._waiting.add(topic)
            else:
                self._give(topic, taker, next(self._epochs))

    def _give(self, topic: str, session_id: str, epoch: int) -> None:
        self._take(topic)
        session = self.sessions[session_id]
        session.roles[topic] = epoch
        session.version += 1
        self._producer[topic] = session_id
        remember(self._last, topic, (session_id, epoch))
        self.news.append(Assignment(topic, session_id, epoch, self._silent.pop(topic, None)))

    def _take(self, topic: str) -> None:
        holder = self.sessions.get(self._producer.pop(topic, ""))
        if holder is not None:
            del holder.roles[topic]
            holder.version += 1


def remember(kept: dict[str, T], key: str, value: T) -> None:
    """Keep something, and forget what is oldest."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > _BOUND:
        del kept[next(iter(kept))]
