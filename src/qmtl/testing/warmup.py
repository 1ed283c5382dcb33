"""Proof that the derived warm-up is enough, and not more than was said."""

from __future__ import annotations

from collections.abc import Mapping

from qmtl.interval import FOREVER, Span, format_time
from qmtl.testing.worlds import Finding, Findings, Task, World, bounds, differences, visit, visit_as_it_is

#: Shares of the span at which other runs start; odd ones, so that they fall between anchors.
_STARTS = (0.37, 0.61, 0.83)


def check(
    address: str, data: Mapping[str, str], start: str | int | None = None, end: str | int | None = None
) -> Findings:
    """Start a strategy at several times with no more history than it asks for, and compare the bits.

    Parameters, return value and errors are those of :func:`qmtl.testing.lookahead.check`.
    """
    task = Task(address, data, start, end)
    base = visit_as_it_is(task, World())
    span, found = bounds(base), []
    starts = [int(span.start + share * len(span)) for share in _STARTS]
    for begin in starts:
        seen = visit(task, World(start=begin))
        if seen.error is not None:
            found.append(Finding("warm-up", "(the run)", begin, seen.error.strip()))
            continue
        evidence = f"when the run started at {format_time(begin)}"
        found += differences("warm-up", base.runs[0], seen.runs[0], Span(begin, FOREVER), evidence)
    return Findings(f"{len(base.runs[0])} nodes from {len(starts)} starts", found)
