"""How the nodes of a run are, for the control plane and for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qmtl.interval import format_time
from qmtl.live.facts import Facts
from qmtl.live.loop import Loop
from qmtl.wire.sessions import NodeProgress, NodeState

#: A stream of which nothing came for so many of its bars, and for so many seconds, is stalled.
_SILENT_BARS, _SILENT_S = 2.0, 5.0


@dataclass(slots=True)
class _Pace:
    """When a node's warm-up was first looked at, and how far it was: what its rate is told from."""

    at: float
    done: int


@dataclass(slots=True)
class Progress:
    """Reads what a loop publishes, from any thread.

    Attributes
    ----------
    loop : Loop
    strategies : mapping of strategy id to ids of its nodes
    labels : mapping of node id to what people call it
    clock : callable
        Seconds UTC.
    """

    loop: Loop
    strategies: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]
    clock: Callable[[], float] = time.time
    _paces: dict[str, _Pace] = field(default_factory=dict)

    def nodes(self) -> dict[str, NodeProgress]:
        """Return how each node is, by id."""
        job, blocked = self.loop.parts.job, self.blocked(0.0)
        # What is known may be of the job before this one.
        facts = {node: fact for node, fact in self.loop.facts.items() if node in job.plan.nodes}
        made: dict[str, NodeProgress] = {}
        for node, fact in facts.items():
            state, reason = self._state(node, fact, blocked, made)
            made[node] = NodeProgress(
                state, fact.last, fact.done, fact.need, fact.epoch, reason, self._eta(node, fact, state)
            )
        for node in job.varying - job.plan.nodes.keys():
            made[node] = NodeProgress("waiting", reason="no queue matches its tag query yet")
        return made

    def _state(self, node: str, fact: Facts, blocked: str, above: Mapping[str, NodeProgress]) -> tuple[NodeState, str]:
        if fact.fault:
            return "quarantined", fact.fault
        if node == blocked:
            return "stalled", f"its function has not returned for {self._busy_s():.0f} s"
        if self.loop.trouble.reason:
            return "stalled", self.loop.trouble.reason
        if reason := self._silence(node):
            return "stalled", reason
        for source in self._inputs(node):
            if source in above and above[source].state in {"quarantined", "stalled"}:
                return "stalled", f"waits for {self.label(source)}, which is {above[source].state}"
        if fact.last is not None:
            return "ready", ""
        if fact.done:
            return "warming", f"{fact.done} of {fact.need} bars"
        return "waiting", f"no bar of {self.label(fact.waits_for)} yet" if fact.waits_for else "no bar yet"

    def _inputs(self, node: str) -> Iterator[str]:
        for edge in self.loop.parts.job.plan.nodes[node].inputs:
            if edge.node is not None:
                yield edge.node.node_id

    def _silence(self, node: str) -> str:
        """Return why a stream that this runner feeds does not come, or nothing."""
        feed = self.loop.parts.feeds.get(node)
        if feed is None or node not in self.loop.feeding:
            return ""
        silent_s = feed.silent_s()
        if silent_s > max(_SILENT_S, _SILENT_BARS * self.interval(node)):
            return f"no bar for {silent_s:.0f} s"
        return feed.problem

    def _eta(self, node: str, fact: Facts, state: NodeState) -> float | None:
        """Return the seconds until a warming node is ready, at the rate at which its bars have come."""
        if state != "warming":
            return None
        now = self.loop.parts.now()
        pace = self._paces.setdefault(node, _Pace(now, fact.done))
        came = fact.done - pace.done
        return (fact.need - fact.done) * (now - pace.at) / came if came > 0 else None

    def label(self, node: str) -> str:
        """Return what people call a node; of somebody else's, where its queue is."""
        return self.labels.get(node) or self.loop.parts.job.plan.nodes[node].node.label

    def interval(self, node: str) -> int:
        """Return the seconds of a node's buckets."""
        return self.loop.parts.job.plan.nodes[node].node.interval

    def users(self, node: str) -> list[str]:
        """Return the ids of the strategies that have a node."""
        return [strategy_id for strategy_id, ids in self.strategies.items() if node in ids]

    @property
    def user_nodes(self) -> list[str]:
        """Names of the nodes that are computed by functions of users."""
        plans = self.loop.parts.job.plan.nodes.items()
        return sorted({self.label(node) for node, plan in plans if plan.inputs and not plan.is_compiled})

    @property
    def faults(self) -> dict[str, str]:
        """Why nodes are quarantined, by name."""
        return {self.label(node): reason for node, reason in [*self.loop.machine.quarantined.items()]}

    # ------------------------------------------------------------------------- of the whole run

    def ready(self, nodes: Mapping[str, NodeProgress]) -> list[str]:
        """Return the strategies all of whose nodes have had their first output."""
        return [
            strategy_id
            for strategy_id, ids in self.strategies.items()
            if all(node in nodes and nodes[node].bucket is not None for node in ids)
        ]

    def _busy_s(self) -> float:
        since = self.loop.busy_since
        return 0.0 if since is None else self.loop.parts.now() - since

    def blocked(self, after_s: float) -> str:
        """Return the node whose function has been running for so long, or nothing."""
        running = self.loop.machine.running
        return running if running is not None and self._busy_s() > after_s else ""

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each node how many of its records were computed here and how many read from its queue."""
        machine = self.loop.machine
        return {node: {"computed": machine.computed[node], "read": machine.read[node]} for node in machine.computed}

    def status(self) -> dict[str, Any]:
        """Return the state of the run and of each node, for people."""
        through = self.loop.through
        return {
            "through": None if through is None else format_time(through),
            "until": None if self.loop.until is None else format_time(self.loop.until),
            "trouble": self.loop.trouble.reason,
            "late": self.loop.late,
            "nodes": {self.label(node): self._told(node, one) for node, one in self.nodes().items()},
        }

    def _told(self, node: str, one: NodeProgress) -> dict[str, Any]:
        return {
            "node_id": node,
            "state": one.state,
            "reason": one.reason,
            "done": one.done,
            "need": one.need,
            "eta_s": one.eta_s,
            "producer": bool(one.epoch),
            "epoch": one.epoch,
            "last": None if one.bucket is None else format_time(one.bucket),
            "lag_s": None if one.bucket is None else max(0.0, self.clock() - one.bucket - self.interval(node)),
            **self.counts().get(node, {"computed": 0, "read": 0}),
        }
