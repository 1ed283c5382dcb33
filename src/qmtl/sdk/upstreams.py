"""Lets the tag queries of a run grow and shrink: looks for queues, and hands over a new job when they have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qmtl.errors import ServiceError
from qmtl.sdk.tag_queries import QueueNode, Resolved, matching, queues_of, resolved
from qmtl.telemetry.logs import logger

if TYPE_CHECKING:
    from qmtl.engine.plan import Plan
    from qmtl.graph.node import TagQueryNode
    from qmtl.live.loop import Loop
    from qmtl.live.run_record import RunRecord
    from qmtl.ports.record_log import RecordLog
    from qmtl.sdk.dryrun import Prepared

#: So often queues are looked for, in seconds.
_LOOK_S = 1.0
#: Entries of a queue that are read at once to see whether it has enough bars.
_ENTRIES = 256
#: A topic that says nothing for so long has nothing more, in seconds.
_ANSWER_S = 0.2

_log = logger("live")


class Upstreams:
    """What the tag queries of a run match.

    A queue becomes an upstream when its topic holds as many bars as its readers' windows take, so nobody who runs
    already has to wait for it; it is one no longer when no strategy uses it.

    Parameters
    ----------
    run : Prepared
        The run.
    asked : sequence of TagQueryNode
        Its queries.
    """

    def __init__(self, run: Prepared, asked: Sequence[TagQueryNode]) -> None:
        self._run, self._asked = run, asked
        self._read: dict[str, QueueNode] = {}
        self._ever: dict[str, QueueNode] = {}
        self._own = {topic for made in run.placed for topic in made.queue_map.values()}

    async def follow(self, loop: Loop, log: RecordLog) -> None:
        """Look again and again, until cancelled; the log is for nobody else to read."""
        while True:
            try:
                found = await self._ready(log)
            except ServiceError as error:
                _log.warning("tag queries wait", why=error.message)
            else:
                if found.keys() != self._read.keys():
                    self._read, self._ever = found, self._ever | found
                    loop.replace(self._run.job(self._resolved(found)))
                    _log.info("upstreams of tag queries changed", queues=sorted(one.topic for one in found.values()))
            await asyncio.sleep(_LOOK_S)

    def plan(self, record: RunRecord) -> Plan:
        """Return the plan with all upstreams that there ever were, also in earlier lives: the result is told by it."""
        before = {queue.node_id: queue for turn in record.turns() for queue in queues_of(turn.upstreams)}
        return self._run.job(self._resolved(before | self._ever)).plan

    async def _ready(self, log: RecordLog) -> dict[str, QueueNode]:
        """Return the queues that match and have enough bars; those that are read already keep their place."""
        matched = await asyncio.to_thread(matching, self._run.client, self._asked)
        queues = {one.node_id: one for one in matched if one.topic not in self._own}
        periods = _periods(self._resolved(queues))
        ready = {}
        for node, queue in queues.items():
            if node in self._read or await _has_bars(log, queue, periods.get(node, 1)):
                ready[node] = self._read.get(node, queue)
        return ready

    def _resolved(self, queues: dict[str, QueueNode]) -> Resolved:
        return resolved(self._run.strategies, queues.values())


async def _has_bars(log: RecordLog, queue: QueueNode, need: int) -> bool:
    """Whether a topic holds so many bars."""
    position, bars = 0, 0
    while bars < need and (found := await log.read({queue.topic: position}, _ENTRIES, _ANSWER_S)):
        position = found[queue.topic][-1].next
        bars += sum(len(entry.batch) for entry in found[queue.topic])
    return bars >= need


def _periods(found: Resolved) -> dict[str, int]:
    """Return the longest window that anybody has on each queue."""
    periods: dict[str, int] = {}
    read = {queue.node_id for queue in found.queues}
    for edges in found.dag.inputs.values():
        for edge in edges:
            if edge.node is not None and edge.node.node_id in read:
                periods[edge.node.node_id] = max(periods.get(edge.node.node_id, 1), edge.period)
    return periods
