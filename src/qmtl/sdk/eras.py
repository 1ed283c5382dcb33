"""What nodes below tag queries must have emitted: each record from the upstreams that its node had by then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from qmtl.errors import UsageError
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE
from qmtl.sdk.replay import batch
from qmtl.sdk.tag_queries import QueueNode, Resolved, queues_of, resolved

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmtl.engine.plan import Plan
    from qmtl.graph.dag import Dag
    from qmtl.live.run_record import RunRecord, Turn
    from qmtl.sdk.strategy import Built

#: Behind every bucket.
_EVER = 1 << 62


class Eras:
    """The upstreams that a strategy's tag queries had, one set after the other, as its run recorded them.

    An era of a node begins behind the last record that was there when it was given its upstreams, and ends where the
    next begins. If it has no upstreams in the end, the last era ends with its last record.

    Parameters
    ----------
    built : Built
        The strategy.
    record : RunRecord
        What its run stored.
    """

    def __init__(self, built: Built, record: RunRecord) -> None:
        self._record, self._label = record, built.dag.labels()
        self._turns = record.turns()
        self._found = {text: resolved([built], queues_of(text)) for text in {turn.upstreams for turn in self._turns}}
        steady, ever = resolved([built], ()), self._queues()
        #: The graph without upstreams of others, and with all that there ever were.
        self.steady: Dag = steady.dag
        self.whole: Dag = resolved([built], ever).dag
        self.varying = steady.varying

    def _queues(self) -> list[QueueNode]:
        found = {queue.node_id: queue for one in self._found.values() for queue in one.queues}
        return [*found.values()]

    def check(self, nodes: Iterable[str]) -> None:
        """Make sure that what was recorded of nodes was computed by this run, in one of its lives.

        Raises
        ------
        UsageError
            Another runner computed it, from upstreams that are not recorded here.
        """
        for node in self.varying.intersection(nodes):
            turns = (turn.last for turn in self._turns if turn.node == node and self._is_computed(turn))
            first, recorded = next(turns, _EVER), self._record.outputs(node)
            if len(recorded) and recorded.first <= first:
                raise UsageError(
                    f"another runner computed {self._label[node]!r}, from upstreams that only it has recorded",
                    hint="certify the run that computed it",
                )

    def outputs(self, nodes: Sequence[str], plan_of: Callable[[Dag], Plan], until: int) -> dict[str, Rows]:
        """Compute nodes over the recorded histories, of which it is known that nothing else ends by ``until``."""
        made = {text: self._computed(plan_of(found.dag), until) for text, found in self._found.items() if nodes}
        found: dict[str, Rows] = {}
        for node in nodes:
            parts = [
                made[turn.upstreams][node].between(turn.last, end)
                for turn, end in self._spans(node)
                if node in made[turn.upstreams]
            ]
            there = [part for part in parts if len(part)]
            found[node] = Rows.joined(there) if there else Rows.none()
        return found

    def _computed(self, plan: Plan, until: int) -> dict[str, Rows]:
        return batch(plan, {one.node_id: self._record.outputs(one.node_id) for one in plan.dag.streams}, until)

    def _spans(self, node: str) -> Iterator[tuple[Turn, int]]:
        """Yield from which upstreams a node was computed, and up to which bucket."""
        turns, recorded = [turn for turn in self._turns if turn.node == node], self._record.outputs(node)
        last = recorded.last if len(recorded) else NONE
        for k, turn in enumerate(turns):
            if self._is_computed(turn):
                ends = [one.last for one in turns[k + 1 :] if self._is_computed(one)]
                yield turn, ends[0] if ends else _EVER if turn is turns[-1] else last

    def _is_computed(self, turn: Turn) -> bool:
        found: Resolved = self._found[turn.upstreams]
        return turn.node not in found.idle
