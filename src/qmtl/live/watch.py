"""Looks at a run from outside, now and then: its metrics, its log and its memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qmtl.errors import RunError
from qmtl.interval import format_time
from qmtl.live.changes import Changes, Event
from qmtl.live.facts import resident_bytes
from qmtl.live.progress import Progress
from qmtl.telemetry import memory
from qmtl.telemetry.logs import logger
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.sessions import NodeProgress

#: Memory is looked at so often, everything else at each fourth time, in seconds.
_LOOK_S, _EACH = 0.25, 4
_MIB = 2**20

_log = logger("live")


@dataclass
class Watch:
    """A thread that looks at a run until it is ended; it costs the run nothing for each bar.

    Parameters
    ----------
    progress : Progress
        What is known of the nodes.
    metrics : Metrics
        Where they are counted.
    memory_limit : float, optional
        MiB that this process may take; the run ends in order when it takes more.
    trace_id : str
        For the log.
    clock : callable
        Seconds UTC.
    """

    progress: Progress
    metrics: Metrics
    memory_limit: float | None = None
    trace_id: str = ""
    clock: Callable[[], float] = time.time
    resident: Callable[[], int] = memory.resident_bytes
    #: Why the run was ended from here.
    failure: RunError | None = None
    _changes: Changes = field(default_factory=Changes)
    _processed: dict[str, int] = field(default_factory=dict)
    _late: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="qmtl-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        looks = 0
        while not self._ended.wait(_LOOK_S):
            self.check_memory()
            looks += 1
            if looks % _EACH == 0:
                self.look()

    def end(self) -> None:
        """Look once more, and end."""
        self._ended.set()
        self._thread.join()
        self.look()

    # -------------------------------------------------------------------------------- memory

    def check_memory(self) -> None:
        """End the run if the process takes more than it may."""
        if self.memory_limit is None or self.failure is not None:
            return
        taken = self.resident() / _MIB
        if taken > self.memory_limit:
            named = ", ".join(repr(name) for name in self.progress.user_nodes) or "none"
            self.failure = RunError(
                f"this process takes {taken:.0f} MiB, more than its limit of {self.memory_limit:.0f} MiB; "
                f"nodes with functions of yours, any of which may keep what it should let go: {named}",
                hint="look for lists and dicts that grow in them, or give more: --memory-limit MIB",
            )
            _log.error("memory limit", why=self.failure.message)
            self.progress.loop.stop()

    # --------------------------------------------------------------------- metrics and the log

    def look(self) -> None:
        """Bring the metrics up to date, and log what has happened."""
        nodes = self.progress.nodes()
        for node, counts in self.progress.counts().items():
            fresh = counts["computed"] - self._processed.get(node, 0)
            if fresh > 0:
                self.metrics.count("node_processed_total", fresh, node=node)
            self._processed[node] = counts["computed"]
        for node, one in nodes.items():
            if one.bucket is not None:
                ends = one.bucket + self.progress.interval(node)
                self.metrics.set("node_lag_seconds", max(0.0, self.clock() - ends), node=node)
        self.metrics.set("nodecache_resident_bytes", resident_bytes(self.progress.loop.machine))
        self._tell(nodes)

    def _tell(self, nodes: Mapping[str, NodeProgress]) -> None:
        for event in self._changes.seen(nodes, self.progress.loop.parts.now()):
            if event.is_violation:
                self.metrics.count("determinism_violation_total")
            (_log.warning if event.is_bad else _log.info)(event.name, **self._fields(event), **event.facts)
        late, self._late = self.progress.loop.late - self._late, self.progress.loop.late
        if late > 0:
            _log.warning("late bars", bars=late, **self._traced())

    def _fields(self, event: Event) -> dict[str, Any]:
        return {
            "strategy": self.progress.users(event.node),
            "node": self.progress.labels[event.node],
            "node_id": event.node,
            "bucket": None if event.bucket is None else format_time(event.bucket),
            **self._traced(),
        }

    def _traced(self) -> dict[str, str]:
        return {"trace_id": self.trace_id} if self.trace_id else {}
