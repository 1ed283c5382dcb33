"""What a machine knows of its nodes, as plain data that other threads may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmtl.live.machine import Machine
from qmtl.live.sequence import NONE


@dataclass(frozen=True, slots=True)
class Facts:
    """One node.

    Attributes
    ----------
    last : int or None
        Last bucket that is known, seconds UTC.
    done, need : int
        Bars of the base stream that has given the fewest, of those that the first output needs.
    epoch : int
        Under which it is produced here; 0 where it is not.
    fault : str
        Why it is quarantined.
    waits_for : str
        Stream that has given the fewest bars.
    """

    last: int | None
    done: int
    need: int
    epoch: int
    fault: str
    waits_for: str


def resident_bytes(machine: Machine) -> int:
    """Return the bytes that windows and buffers of nodes take; may be asked by other threads."""
    return sum(group.engine.executor.resident_bytes for group in machine.groups)


def facts(machine: Machine, streams: Mapping[str, Sequence[str]]) -> dict[str, Facts]:
    """Return the facts of every node, inputs first; ``streams`` has the streams upstream of each."""
    plan = machine.job.plan
    made = {}
    for node in plan.nodes:
        known, need = machine.known(node), plan.warmup(node)
        seen = {stream: machine.computed[stream] + machine.read[stream] for stream in streams[node]}
        slowest = min(seen, key=lambda stream: seen[stream], default="")
        made[node] = Facts(
            None if known.last == NONE else known.last,
            min(need, seen.get(slowest, 0)),
            need,
            machine.roles.get(node, 0),
            machine.quarantined.get(node, ""),
            slowest,
        )
    return made
