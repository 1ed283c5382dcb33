"""What a run has made since its last commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmtl.live.machine import Step
from qmtl.live.paper import Traded
from qmtl.live.rows import Rows
from qmtl.live.run_record import Arrival
from qmtl.live.run_store import Commit, arrivals


@dataclass(slots=True)
class Pending:
    """Deliveries, trades and arrivals that are not durable yet; ``streams`` are ids of the streams."""

    streams: frozenset[str]
    has_orders: bool = False
    _records: dict[str, list[Rows]] = field(default_factory=dict)
    _revised: list[tuple[str, int, Rows]] = field(default_factory=list)
    _traded: dict[str, list[Traded]] = field(default_factory=dict)
    _arrivals: list[Arrival] = field(default_factory=list)
    _late: list[tuple[str, Rows]] = field(default_factory=list)

    def add(self, step: Step, through: int) -> None:
        """Take what a step delivered; everything that ends at or before ``through`` has been, by now."""
        for node, rows in step.delivered.items():
            self._records.setdefault(node, []).append(rows)
        self._revised += step.revised
        self._arrivals += arrivals(step.delivered, step.revised, through, self.streams)

    def traded(self, strategy_id: str, made: Traded) -> None:
        """Take what an account did."""
        if len(made.ts) or made.orders:
            self._traded.setdefault(strategy_id, []).append(made)
            self.has_orders = self.has_orders or bool(made.orders)

    def late(self, stream: str, rows: Rows) -> None:
        """Take bars of sealed buckets."""
        self._late.append((stream, rows))

    def commit(self, checkpoint: bytes) -> Commit:
        """Return everything as one transaction."""
        records = {node: Rows.joined(parts) for node, parts in self._records.items()}
        return Commit(records, self._revised, self._traded, self._arrivals, self._late, checkpoint)
