"""What a runner is asked to run, and what its machine asks for and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qmtl.engine.plan import Plan
from qmtl.live.rows import Rows
from qmtl.live.sequence import NONE


@dataclass(frozen=True)
class Job:
    """What a runner runs.

    Attributes
    ----------
    plan : Plan
        Of all its strategies' nodes, as if all were computed here.
    topics : mapping of node id to topic
        A node without one is computed here, for this runner alone.
    wanted : frozenset of str
        Ids whose records are delivered.
    begin : int
        First bucket that is read, warm-up included, seconds UTC; ``NONE`` for everything.
    varying : frozenset of str
        Ids of nodes whose upstreams change while they run: what they emitted need not come again.
    upstreams : str
        Which upstreams those are now, as the record of the run tells it.
    """

    plan: Plan
    topics: Mapping[str, str]
    wanted: frozenset[str]
    begin: int = NONE
    varying: frozenset[str] = frozenset()
    upstreams: str = ""


@dataclass(frozen=True, slots=True)
class Wants:
    """What the machine waits for: topics to read (position), feeds to ask (last bucket)."""

    reads: dict[str, int]
    feeds: dict[str, int]


@dataclass(slots=True)
class Step:
    """What a step did.

    Attributes
    ----------
    delivered : dict of node id to Rows
        Records that nobody was given before, each bucket once, in order. A node may be further than others.
    through : int or None
        Every wanted record that ends at or before it has been delivered; None if it did not move.
    revised : list of (node id, revision, Rows)
        Repairs of records that were delivered before, each revision once.
    advanced : bool
        Something was computed, so the next step may go on at once.
    """

    delivered: dict[str, Rows] = field(default_factory=dict)
    through: int | None = None
    revised: list[tuple[str, int, Rows]] = field(default_factory=list)
    advanced: bool = False
