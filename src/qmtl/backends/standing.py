"""What stands in a graph when changes arrive, and which of them rest on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from qmtl.errors import ConflictError, EndedError, ServiceError
from qmtl.ports.graph_store import DROPPING, Change, Emission


class StandingQueue(msgspec.Struct, frozen=True):
    """What of a queue decides."""

    node_id: str
    domain: str
    state: str
    created_by: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the graph has of everything that some changes touch; a store reads it under its lock."""

    released: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    queues: dict[str, StandingQueue] = field(default_factory=dict)
    emissions: dict[tuple[str, str], Emission] = field(default_factory=dict)

    def admit(self, change: Change) -> ServiceError | None:
        """Return why a change may not be written, or None; then it stands for those that come after it."""
        fault = self._fault(change)
        if fault is None:
            self.nodes.update(node.node_id for node in change.nodes)
            for queue in change.queues:
                made = StandingQueue(queue.node_id, queue.domain, queue.state, queue.created_by)
                self.queues.setdefault(queue.topic, made)
            self.emissions.update({(one.node_id, one.domain): one for one in change.emissions})
        return fault

    def _fault(self, change: Change) -> ServiceError | None:
        if change.strategy_id in self.released:
            return EndedError(f"strategy {change.strategy_id} has ended")
        why = self._of_queues(change) or self._of_emissions(change)
        return ConflictError(why, hint="decide again") if why else None

    def _of_queues(self, change: Change) -> str | None:
        for queue in change.queues:
            there = self.queues.get(queue.topic)
            if there is not None and (there.node_id, there.domain) != (queue.node_id, queue.domain):
                return f"topic {queue.topic} is taken"
            if there is not None and there.created_by != queue.created_by:
                return f"queue {queue.topic} was made just now"
        made = {queue.topic for queue in change.queues}
        for topic in change.uses:
            if topic not in made and topic not in self.queues:
                return f"queue {topic} is gone"
            if topic in self.queues and self.queues[topic].state == DROPPING:
                return f"queue {topic} is being dropped"
        return None

    def _of_emissions(self, change: Change) -> str | None:
        known = self.nodes | {node.node_id for node in change.nodes}
        for new in change.emissions:
            if new.node_id not in known:
                return f"node {new.node_id[:12]} is gone"
            old = self.emissions.get((new.node_id, new.domain))
            graduates = old is not None and old.buffering_since is not None and new.buffering_since is None
            if old is not None and old.topic != new.topic and not graduates:
                return f"node {new.node_id[:12]} has another queue by now"
        return None


def admitted(standing: Standing, changes: Sequence[Change]) -> tuple[list[ServiceError | None], list[Change]]:
    """Return the verdict on each change, in order, and those to write."""
    verdicts = [standing.admit(change) for change in changes]
    return verdicts, [change for change, verdict in zip(changes, verdicts, strict=True) if verdict is None]
