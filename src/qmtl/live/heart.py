"""Beats for a runner, whatever its loop is doing, and brings it its roles."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import structs

from qmtl.errors import ServiceError
from qmtl.live.loop import Loop
from qmtl.live.progress import Progress
from qmtl.telemetry.logs import logger
from qmtl.wire.sessions import Attending, Beat, Join, Leave, NodeProgress, Standing

#: A runner beats so many times in the time after which it is taken for dead.
_BEATS = 10
#: A runner that has not been able to read or write for this share of the timeout stops beating: others can take over.
_MUTE = 0.1
#: Who leaves waits so long for a beat that is under way, in seconds.
_LAST_BEAT_S = 0.5
#: A user's function that runs for so long blocks its runner, in seconds.
_BLOCKED_S = 2.0

_log = logger("live")


@dataclass(frozen=True, slots=True)
class Session:
    """Who a runner is: the first join, and what answers it."""

    join: Join
    attend: Callable[[Attending], Standing]


class Heart(threading.Thread):
    """Joins, beats until it is ended, and leaves.

    Parameters
    ----------
    loop : Loop
        Whose life is told.
    session : Session
    progress : Progress
        What is told of the nodes.
    standing : Standing
        The answer to the first join.
    """

    def __init__(self, loop: Loop, session: Session, progress: Progress, standing: Standing) -> None:
        super().__init__(name="qmtl-heart", daemon=True)
        self._loop, self._session, self._progress = loop, session, progress
        self._ended = threading.Event()
        self._told: dict[str, NodeProgress] = {}
        self._seen = ""
        self.timeout_s = standing.timeout_s
        #: Strategies that still live, as the control plane says.
        self.strategies: Sequence[str] = standing.strategies
        self.trouble = ""
        self._take(standing)

    def run(self) -> None:
        """Beat until ended."""
        while not self._ended.wait(self.timeout_s / _BEATS):
            if self._is_mute():
                continue
            try:
                self._beat()
                self.trouble = ""
            except ServiceError as error:
                if not self.trouble:
                    _log.warning("the control plane does not answer", why=error.message)
                self.trouble = error.message

    def _is_mute(self) -> bool:
        trouble, writing_since = self._loop.trouble, self._loop.writing_since
        since = min(trouble.since if trouble.reason else math.inf, math.inf if writing_since is None else writing_since)
        return self._loop.parts.now() - since > _MUTE * self.timeout_s

    def _beat(self) -> None:
        nodes, session_id = self._progress.nodes(), self._session.join.session_id
        topics = self._loop.parts.job.topics
        now = {topics[node]: one for node, one in nodes.items() if node in topics}
        changed = {topic: one for topic, one in now.items() if self._told.get(topic) != one}
        ready, blocked = self._progress.ready(nodes), topics.get(self._progress.blocked(_BLOCKED_S), "")
        standing = self._session.attend(Beat(session_id, self._seen, changed, ready, blocked, dict(self._loop.refused)))
        self._told = now
        if not standing.known and not self._ended.is_set():
            # It expired, or the manager is another one: what is produced now goes on.
            standing = self._session.attend(structs.replace(self._session.join, holds=self._loop.held))
            self._told = {}
        self._take(standing)

    def _take(self, standing: Standing) -> None:
        self._seen = standing.version
        if standing.known:
            self.strategies = standing.strategies
        if standing.roles is not None:
            self._loop.assign(standing.roles)

    def end(self) -> bool:
        """Stop beating and leave: roles go to others at once; return whether somebody has answered."""
        self._ended.set()
        if self.is_alive():
            self.join(_LAST_BEAT_S)
        try:
            self._session.attend(Leave(self._session.join.session_id))
        except ServiceError as error:
            _log.warning("could not leave in order; the session expires", why=error.message)
            return False
        return True
