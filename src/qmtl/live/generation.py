"""What is computed here for a while: groups of nodes with an engine each, and what they still have to read again.

Nodes that wait for the same sources are one group. So a source that stalls holds up only what depends on it, and two
runners that compute for each other never wait in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from qmtl.engine.plan import Plan
from qmtl.engine.stream import Block, StreamEngine
from qmtl.errors import QmtlError
from qmtl.live.repairs import Repairs
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from qmtl.live.source import Source
from qmtl.live.track import Replay
from qmtl.ports.record_log import Entry

#: Rows of a node in one step: as many as amortise a commit.
CAPACITY = 1024
#: A topic is not read on while so many of its records wait for others.
WAITING = 8192


class Group:
    """Nodes that wait for the same sources: one engine, one watermark.

    Parameters
    ----------
    part : Plan
        Its nodes, and what they read.
    """

    def __init__(self, part: Plan) -> None:
        self.part, self.engine, self.watermark = part, StreamEngine(part, CAPACITY), NONE
        self.sources = {node: Source(plan.node.interval) for node, plan in part.nodes.items() if plan.is_source}
        self._shortest = min(source.interval for source in self.sources.values())
        self._made = [node for node, plan in part.nodes.items() if not plan.is_source]
        self._strict = [
            node for node in self.engine.executor.user_nodes if part.nodes[node].node.on_error == "quarantine"
        ]

    def until(self, stops: Iterable[int]) -> int | None:
        """Return how far a step may go: as far as every source is known, not more rows than fit, no stop passed."""
        until, known, first = 1 << 62, NONE, None
        for source in self.sources.values():
            if source.through == NONE:
                return None
            until, known = min(until, source.frontier), max(known, source.through)
            end = source.first_end
            if end is not None and (first is None or end < first):
                first = end
        until = min(until, known)
        if first is not None:
            until = min(until, first + (CAPACITY - 2) * self._shortest)
        until = min([until, *(stop for stop in stops if stop > self.watermark)])
        return until if until > self.watermark else None

    def compute(self, until: int) -> dict[str, Rows]:
        """Compute everything that is complete by a moment and return what each node emitted.

        Raises
        ------
        QmtlError
            A node failed; :attr:`failed` says which.
        """
        given = {
            node: (rows.ts, [*rows.values])
            for node, source in self.sources.items()
            if (rows := source.take(until)) is not None
        }
        self.engine.advance(until, given)
        self.watermark = until
        made = {node: rows for block in self.engine.blocks() for node, rows in _records(block)}
        return {node: made[node] if node in made else Rows.made(*self.engine.rows(node)) for node in self._made}

    @property
    def failed(self) -> tuple[str, int] | None:
        """The node in which the last computation failed, and the bucket."""
        nodes = self.engine.executor.user_nodes
        strict = (node for node in self._strict if nodes[node].failure is not None)
        node = self.engine.executor.running or next(strict, None)
        at = None if node is None else nodes[node].failed_at
        return None if node is None or at is None else (node, at)

    @property
    def failure(self) -> QmtlError | None:
        """Why a node stopped alone, as its policy says."""
        failures = (self.engine.executor.user_nodes[node].failure for node in self._strict)
        return next((failure for failure in failures if failure is not None), None)


class Generation:
    """The groups of the nodes that are computed here.

    Parameters
    ----------
    plan : Plan
        Of everything.
    local : collection of str
        Ids to compute.
    fields : mapping of id to field names
        Of nodes whose records tell them.
    repairs : mapping of id to Repairs
        What is read again is read as it is now.
    """

    def __init__(
        self,
        plan: Plan,
        local: Collection[str],
        fields: Mapping[str, tuple[str, ...]],
        repairs: Mapping[str, Repairs],
    ) -> None:
        self._repairs = repairs
        self.groups = [Group(plan.part(nodes, fields)) for nodes in _grouped(plan, local)]
        self.replays: dict[str, Replay] = {}
        self._inlets: dict[str, list[Source]] = {}
        for group in self.groups:
            for node, source in group.sources.items():
                self._inlets.setdefault(node, []).append(source)
        self._fields = {node: group.part.nodes[node].fields for group in self.groups for node in group.sources}
        #: What comes from topics and feeds.
        self.sources = {node: None for node in self._inlets if node not in local}.keys()

    def put(self, node: str, rows: Rows | None, through: int) -> None:
        """Hand the next records of a node to whoever reads it."""
        for source in self._inlets.get(node, ()):
            source.put(rows, through)

    def has_room(self, node: str) -> bool:
        """Whether nobody is far behind with what a node has given."""
        return all(len(source) < WAITING for source in self._inlets.get(node, ()))

    def repeat(self, node: str, entry: Entry) -> None:
        """Take an entry of a topic that is read again."""
        replay = self.replays[node]
        if entry.next <= replay.position:
            return
        low = replay.seen
        rows = replay.take(entry)
        if len(rows):
            low = min(replay.begin, rows.first) - 1 if low == NONE else low
            now = self._repairs[node].over(rows, low, replay.seen)
            self.put(node, now, min(replay.through, replay.seen + self._inlets[node][0].interval))
        self._end(node)

    def _end(self, node: str) -> None:
        """Follow a topic that has been read again."""
        replay = self.replays[node]
        if replay.is_over:
            del self.replays[node]
            low = replay.begin - 1 if replay.seen == NONE else replay.seen
            missing = self._repairs[node].over(Rows.none(), low, replay.through - self._inlets[node][0].interval)
            self.put(node, missing, replay.through)

    def fits(self, node: str, fields: tuple[str, ...]) -> bool:
        """Whether everybody who reads a node was built for its fields."""
        return self._fields.get(node, fields) == fields


def _records(block: Block) -> Iterator[tuple[str, Rows]]:
    """Yield the records of each node of a block; each has its values alone, for nobody knows how long one is kept."""
    ts, fields, whole = block.ts.copy(), block.fields, len(block.ts)
    for k, (node, values) in enumerate(zip(block.nodes, block.values, strict=True)):
        if block.counts[k] == whole:
            yield node, Rows(ts, fields, values.copy())
        else:
            there = block.masks[k] == 1
            yield node, Rows(ts[there], fields, values[:, there])


def _grouped(plan: Plan, local: Collection[str]) -> list[list[str]]:
    """Return local nodes by what they wait for; a group comes before those that read it."""
    needs: dict[str, frozenset[str]] = {}
    groups: dict[frozenset[str], list[str]] = {}
    for node, planned in plan.nodes.items():
        if node in local:
            above = (edge.node.node_id for edge in planned.inputs if edge.node is not None)
            needs[node] = frozenset().union(*(needs.get(one, frozenset((one,))) for one in above))
            groups.setdefault(needs[node], []).append(node)
    return [groups[need] for need in sorted(groups, key=len)]
