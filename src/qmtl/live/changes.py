"""What happened to the nodes of a run between two looks: events for the log. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from qmtl.wire.sessions import NodeProgress

#: How the reason of a node begins that gave two answers to the same question.
VIOLATION = "QM-DETERMINISM"
_UNSEEN = NodeProgress("waiting")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is worth a line in the log.

    Attributes
    ----------
    name : str
    node : str
        Node id.
    bucket : int or None
        Last bucket of the node, seconds UTC.
    facts : dict
        What else there is to say.
    is_bad : bool
        Somebody should look.
    """

    name: str
    node: str
    bucket: int | None
    facts: dict[str, object] = field(default_factory=dict)
    is_bad: bool = False

    @property
    def is_violation(self) -> bool:
        """Whether a node gave two answers to the same question."""
        return self.name == "determinism violation"


class Changes:
    """Compares each look with the one before.

    Examples
    --------
    >>> changes = Changes()
    >>> [event.name for event in changes.seen({"n": NodeProgress("ready", 60, epoch=7)}, now=1.0)]
    ['role taken']
    >>> [event.name for event in changes.seen({"n": NodeProgress("quarantined", 60, epoch=7, reason="why")}, now=2.0)]
    ['node quarantined']
    """

    def __init__(self) -> None:
        self._before: dict[str, NodeProgress] = {}
        #: Nodes that were taken over: when, and behind which bucket they go on.
        self._taken: dict[str, tuple[float, int]] = {}

    def seen(self, nodes: Mapping[str, NodeProgress], now: float) -> list[Event]:
        """Return what has happened since the last time."""
        found = [event for node, one in nodes.items() for event in self._node(node, one, now)]
        self._before = dict(nodes)
        return found

    def _node(self, node: str, now: NodeProgress, at: float) -> Iterator[Event]:
        before = self._before.get(node, _UNSEEN)
        if now.epoch != before.epoch:
            yield from self._role(node, before, now, at)
        if node in self._taken and now.bucket is not None and now.bucket > self._taken[node][1]:
            since, _ = self._taken.pop(node)
            yield Event("hand-over done", node, now.bucket, {"epoch": now.epoch, "seconds": round(at - since, 3)})
        if now.state != before.state:
            yield from self._state(node, before, now)

    def _role(self, node: str, before: NodeProgress, now: NodeProgress, at: float) -> Iterator[Event]:
        self._taken.pop(node, None)
        if not now.epoch:
            yield Event("role lost", node, now.bucket, {"epoch": before.epoch})
            return
        yield Event("role taken", node, now.bucket, {"epoch": now.epoch})
        if before.bucket is not None:
            self._taken[node] = (at, before.bucket)

    def _state(self, node: str, before: NodeProgress, now: NodeProgress) -> Iterator[Event]:
        facts: dict[str, object] = {"reason": now.reason}
        if now.state == "quarantined":
            name = "determinism violation" if now.reason.startswith(VIOLATION) else "node quarantined"
            yield Event(name, node, now.bucket, facts, is_bad=True)
        elif now.state == "stalled":
            yield Event("node stalled", node, now.bucket, facts, is_bad=True)
        elif before.state in {"quarantined", "stalled"}:
            yield Event("node goes on", node, now.bucket)
