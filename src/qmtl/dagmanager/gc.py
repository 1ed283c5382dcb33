"""What may go, and why. Pure: queues and versions in, removals with their reasons out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmtl.ports.graph_store import StoredSentinel
from qmtl.wire.messages import QueueInfo, Removal

_DAY_S = 86_400.0
_BATCH = 200
#: Above this load of the broker, batches are halved.
_BUSY = 0.8


@dataclass(frozen=True, slots=True)
class Policy:
    """How long an unused thing stays: ``keep_s`` by its kind, ``grace_s`` on top, both in seconds."""

    keep_s: float
    grace_s: float

    @property
    def total_s(self) -> float:
        """Seconds from the last use to removal."""
        return self.keep_s + self.grace_s


POLICIES = {
    "raw": Policy(7 * _DAY_S, 1 * _DAY_S),
    "indicator": Policy(30 * _DAY_S, 3 * _DAY_S),
    "trade": Policy(90 * _DAY_S, 7 * _DAY_S),
    "sentinel": Policy(180 * _DAY_S, 30 * _DAY_S),
}


def plan(queues: Sequence[QueueInfo], sentinels: Sequence[StoredSentinel], now: float) -> list[Removal]:
    """Decide about every queue and every version.

    Examples
    --------
    >>> queue = QueueInfo("btc_sma_1", "ab12", "sma", "", "indicator", "ready", 60, [], None, 0, False, 0.0, 0.0)
    >>> plan([queue], [], now=34 * 86_400.0)[0].reason
    'no strategy for 34.0 days; indicator queues stay 30 + 3'
    """
    return [_queue(queue, now) for queue in queues] + [_sentinel(sentinel, now) for sentinel in sentinels]


def batches(topics: Sequence[str], load: float) -> list[list[str]]:
    """Cut topics into batches, smaller ones for a busy broker."""
    size = _BATCH // 2 if load > _BUSY else _BATCH
    return [list(topics[k : k + size]) for k in range(0, len(topics), size)]


def unused_since(quality: str, now: float) -> float:
    """Return the time that the last use of a queue must lie before."""
    return now - POLICIES[quality].total_s


def _queue(queue: QueueInfo, now: float) -> Removal:
    if queue.strategies:
        return Removal(queue.topic, "keep", f"{queue.strategies} live strategies use it")
    if queue.pinned:
        return Removal(queue.topic, "keep", "a version with weight above 0 has it")
    return _by_age(queue.topic, "drop", queue.quality, f"{queue.quality} queues", queue.released_at, now)


def _sentinel(sentinel: StoredSentinel, now: float) -> Removal:
    if sentinel.strategies:
        return Removal(sentinel.version, "keep", f"{sentinel.strategies} live strategies have it")
    if sentinel.traffic_weight > 0:
        return Removal(sentinel.version, "keep", f"its weight is {sentinel.traffic_weight}")
    return _by_age(sentinel.version, "archive", "sentinel", "versions", sentinel.released_at, now)


def _by_age(subject: str, action: str, policy: str, kind: str, released_at: float | None, now: float) -> Removal:
    rule = POLICIES[policy]
    idle = now - (released_at if released_at is not None else now)
    stays = f"{kind} stay {rule.keep_s / _DAY_S:g} + {rule.grace_s / _DAY_S:g}"
    why = f"no strategy for {idle / _DAY_S:.1f} days; {stays}"
    gone = action if idle > rule.total_s else "keep"
    return Removal(subject, gone, why)  # type: ignore[arg-type]
