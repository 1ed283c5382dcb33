"""Records that were emitted, and later replaced, put in or taken back. Pure.

A repair of a stream is a *revision*: a batch behind what was emitted. Whoever computes from it computes the buckets
since then again, publishes those that differ as a revision of the node, and says with it on which revisions of streams
all records of the node *rest* by now. A node is computed again as soon as everything that it reads rests on a newer
revision of a stream: so also records that were computed from what became void are replaced, whoever computed them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from qmtl.engine.plan import Plan, PlanNode
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from qmtl.wire.records import Batch

#: So many repairs of a node are remembered; older ones are history.
_REMEMBERED = 4096
#: Newer than every revision.
_EVER = 1 << 62


@dataclass(slots=True)
class Repairs:
    """The revisions of one node.

    Attributes
    ----------
    revision : int
        Newest that was seen.
    rests : dict of stream id to int
        Revisions of streams that all of the node's records take into account.
    """

    revision: int = 0
    rests: dict[str, int] = field(default_factory=dict)
    _made: list[tuple[int, Rows, dict[str, int]]] = field(default_factory=list)

    def take(self, batch: Batch) -> Rows | None:
        """Take a revision; None if it was seen before."""
        if batch.revision <= self.revision:
            return None
        self.revision = batch.revision
        self.rests |= batch.rests
        rows = Rows.of(batch)
        if len(rows):
            self._made = [*self._made[-_REMEMBERED:], (batch.revision, rows, batch.rests)]
        return rows

    def since(self, revision: int) -> int | None:
        """Return the first bucket that newer revisions have changed."""
        return self._first(number > revision for number, *_ in reversed(self._made))

    def beyond(self, known: Mapping[str, int]) -> int | None:
        """Return the first bucket that was changed because of newer revisions of streams than these."""
        return self._first(
            any(rests.get(stream, 0) > revision for stream, revision in known.items()) for rests in self._rests(known)
        )

    def _rests(self, known: Mapping[str, int]) -> Iterator[Mapping[str, int]]:
        """Yield on what each repair rests, newest first; the last of several batches says it for all of them."""
        last: Mapping[str, int] = dict.fromkeys(known, _EVER)
        for _, _, rests in reversed(self._made):
            last = rests or last
            yield last

    def _first(self, are_newer: Iterable[bool]) -> int | None:
        """Return the first bucket of the repairs that are newer than something; told of each, newest first."""
        newer = takewhile(bool, are_newer)
        return min((rows.first for (_, rows, _), _ in zip(reversed(self._made), newer, strict=False)), default=None)

    def over(self, rows: Rows, low: int, high: int) -> Rows:
        """Return records as they are now, in buckets of ``(low, high]``."""
        rows = rows.between(low, high)
        for _, repair, _ in self._made:
            if repair.ts[0] <= high and repair.ts[-1] > low:
                part = repair.between(low, high)
                rows = rows.repaired(part) if len(part) else rows
        return rows

    @property
    def made(self) -> list[tuple[int, Rows, dict[str, int]]]:
        """All that are remembered, oldest first."""
        return self._made


@dataclass(slots=True)
class Redo:
    """Buckets of one node that are computed again because an input was repaired; nothing of it goes out meanwhile.

    Attributes
    ----------
    begin : int
        The first of them.
    sealed : int
        Those that end at or before it were emitted; what comes later is new.
    inputs : frozenset of str
        Nodes that it reads.
    reached : int
        How far it has been computed.
    """

    begin: int
    sealed: int
    inputs: frozenset[str]
    reached: int = NONE
    _made: list[Rows] = field(default_factory=list)

    def take(self, rows: Rows, until: int, interval: int) -> None:
        """Take what was computed."""
        self.reached = until
        if len(rows):
            self._made.append(rows.after(min(self.begin - 1, self.sealed - interval)))

    @property
    def is_over(self) -> bool:
        """Whether everything was computed again."""
        return self.reached >= self.sealed

    def differing(self, before: Rows, interval: int, first: int) -> tuple[Rows, Rows, Rows]:
        """Return the records that are not as before, those of before that are no more, and those that are new.

        What there was in buckets earlier than ``first`` is not known: all that are not there now are taken back.
        """
        everything = Rows.joined(self._made) if self._made else Rows.none()
        made, fresh = (
            everything.between(self.begin - 1, self.sealed - interval),
            everything.after(self.sealed - interval),
        )
        before = before.between(self.begin - 1, self.sealed - interval)
        forgotten = np.arange(self.begin, min(first, self.sealed - interval + 1), interval)
        gone = np.setdiff1d(np.concatenate([forgotten, before.ts]), made.ts)
        taken_back = Rows(gone, (), np.zeros((0, len(gone), 1)))
        return made.unlike(before), taken_back, fresh


def inputs(planned: PlanNode) -> frozenset[str]:
    """Return the ids of the nodes that a node reads."""
    return frozenset(edge.node.node_id for edge in planned.inputs if edge.node is not None)


def rests(plan: Plan, repairs: Mapping[str, Repairs], renewed: Collection[str] = ()) -> dict[str, dict[str, int]]:
    """Return, for each node that reads others, up to which revision of each stream all that it reads is repaired.

    Nodes of ``renewed`` are computed again by us as far as what they read allows.
    """
    found: dict[str, dict[str, int]] = {}
    state: dict[str, Mapping[str, int]] = {}
    for node, planned in plan.nodes.items():
        if not planned.inputs:
            state[node] = {node: repairs[node].revision}
            continue
        reached = found[node] = {}
        for one in inputs(planned):
            for stream, revision in state[one].items():
                reached[stream] = min(reached.get(stream, revision), revision)
        own = repairs[node].rests
        state[node] = {
            stream: max(own.get(stream, 0), revision if node in renewed else 0) for stream, revision in reached.items()
        }
    return found


def pending(plan: Plan, local: Collection[str], repairs: Mapping[str, Repairs]) -> dict[str, int]:
    """Return the local nodes that do not rest on all repairs of streams, and their first bucket that may change."""
    found: dict[str, int] = {}
    if not any(one.revision for one in repairs.values()):
        return found
    for node, reached in rests(plan, repairs).items():
        own = repairs[node].rests
        begins = [repairs[stream].since(own.get(stream, 0)) for stream in reached]
        known = {stream: own.get(stream, 0) for stream in reached}
        for one in inputs(plan.nodes[node]):
            begins += [found.get(one), repairs[one].beyond(known) if plan.nodes[one].inputs else None]
        begin = min((begin for begin in begins if begin is not None), default=None)
        if begin is not None and node in local:
            found[node] = begin - begin % plan.nodes[node].node.interval
    return found


def ready(plan: Plan, nodes: Collection[str], repairs: Mapping[str, Repairs]) -> set[str]:
    """Return which of the pending nodes can be computed again now: all that they read is repaired further than they."""
    return {
        node
        for node, reached in rests(plan, repairs, nodes).items()
        if node in nodes and any(revision > repairs[node].rests.get(one, 0) for one, revision in reached.items())
    }
