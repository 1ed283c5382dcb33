"""Records that were emitted, and later replaced, put in or taken back. Pure.

A repair of a node is a *revision*: a batch behind what was emitted. Who computes from it computes the buckets since
then again, publishes those that differ as a revision of its own, and says with it which revisions of its inputs it now
*rests* on: so a producer that takes over knows what its predecessor had left to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from qmtl.engine.plan import Plan
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from qmtl.wire.records import Batch

#: So many repairs of a node are remembered; older ones are history.
_REMEMBERED = 4096


@dataclass(slots=True)
class Repairs:
    """The revisions of one node.

    Attributes
    ----------
    revision : int
        Newest that was seen.
    rests : dict of node id to int
        Revisions of inputs that the node's records take into account.
    """

    revision: int = 0
    rests: dict[str, int] = field(default_factory=dict)
    _made: list[tuple[int, Rows]] = field(default_factory=list)

    def take(self, batch: Batch) -> Rows | None:
        """Take a revision; None if it was seen before."""
        if batch.revision <= self.revision:
            return None
        self.revision = batch.revision
        self.rests |= batch.rests
        rows = Rows.of(batch)
        if len(rows):
            self._made = [*self._made[-_REMEMBERED:], (batch.revision, rows)]
        return rows

    def since(self, revision: int) -> int | None:
        """Return the first bucket that newer revisions have changed."""
        return min((int(rows.ts[0]) for number, rows in self._made if number > revision), default=None)

    def over(self, rows: Rows, low: int, high: int) -> Rows:
        """Return records as they are now, in buckets of ``(low, high]``."""
        rows = rows.between(low, high)
        for _, repair in self._made:
            part = repair.between(low, high)
            rows = rows.repaired(part) if len(part) else rows
        return rows

    @property
    def made(self) -> list[tuple[int, Rows]]:
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

    def differing(self, before: Rows, interval: int) -> tuple[Rows, Rows, Rows]:
        """Return the records that are not as before, those of before that are no more, and those that are new."""
        everything = Rows.joined(self._made) if self._made else Rows.none()
        made, fresh = (
            everything.between(self.begin - 1, self.sealed - interval),
            everything.after(self.sealed - interval),
        )
        before = before.between(self.begin - 1, self.sealed - interval)
        _, ours, theirs = np.intersect1d(made.ts, before.ts, assume_unique=True, return_indices=True)
        same = [k for k, j in zip(ours.tolist(), theirs.tolist(), strict=True) if made.row(k) == before.row(j)]
        keep = np.setdiff1d(np.arange(len(made)), same)
        gone = np.setdiff1d(before.ts, made.ts)
        taken_back = Rows(gone, (), np.zeros((0, len(gone), 1)))
        return Rows(made.ts[keep], made.fields, made.values[:, keep]), taken_back, fresh


def unsettled(plan: Plan, local: Collection[str], repairs: Mapping[str, Repairs]) -> dict[str, int]:
    """Return the local nodes that do not rest on all repairs of what they read, and from which bucket on."""
    found: dict[str, int] = {}
    for node, planned in plan.nodes.items():
        if node not in local:
            continue
        above = [edge.node.node_id for edge in planned.inputs if edge.node is not None]
        begins = [repairs[one].since(repairs[node].rests.get(one, 0)) for one in above] + [found.get(k) for k in above]
        known = [begin for begin in begins if begin is not None]
        if known:
            found[node] = min(known) - min(known) % planned.node.interval
    return found
