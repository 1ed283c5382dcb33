"""Proof that outputs depend on nothing but the bars up to their own time.

The strategy runs in worlds that agree up to a time and differ after it: bars altered, bars cut off. It runs twice in
one process, from a later start, under another clock, and without the files that earlier runs may have left. An
output that was known before the difference, and is not equal to the bit, is a leak; and no clean strategy has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from qmtl.interval import FOREVER, Span, format_time
from qmtl.testing.worlds import (
    Finding,
    Findings,
    Records,
    Task,
    Visit,
    World,
    bounds,
    differences,
    visit,
    visit_as_it_is,
    warm_bounds,
)

#: Shares of the span after which the future is another one.
_CUTS = (0.55, 0.8)
#: Errors of data, as against errors of the strategy.
_TOO_LITTLE = ("QM-NOT-ENOUGH-HISTORY", "QM-DATA")
#: More than a year, and at another hour of another day of the week.
_AHEAD = 400 * 86_400 + 7 * 3_600 + 13 * 60


def check(
    address: str, data: Mapping[str, str], start: str | int | None = None, end: str | int | None = None
) -> Findings:
    """Look for outputs that depend on the future, the clock or earlier runs.

    Parameters
    ----------
    address : str
        ``file.py:Class``; the file is imported anew in every world.
    data : mapping of str to path
        Bars of the streams, by name.
    start, end : optional
        Span of the run.

    Returns
    -------
    Findings
        Each names node, first bucket and evidence.

    Raises
    ------
    RunError
        The strategy does not run as it is.
    """
    task = Task(address, data, start, end)
    base = visit_as_it_is(task, World(runs=2))
    first, span = base.runs[0], bounds(base)
    found = differences(
        "state kept between runs", base.runs[0], base.runs[1], span, "when the strategy ran a second time"
    )
    silent = [name for name, records in first.items() if not len(records.ts)]
    without = f" ({', '.join(silent)} without any output)" if silent else ""
    checked = f"{len(first)} nodes{without} from {format_time(span.start)} to {format_time(span.end)}"
    if not found:  # outputs that differ by themselves prove nothing in other worlds
        for kind, world, limit, evidence in _others(base, span):
            found += _judge(kind, first, visit(task, replace(world, libraries=base.libraries)), limit, evidence)
    found = list({(one.kind, one.node): one for one in reversed(found)}.values())[::-1]  # the first evidence will do
    return Findings(f"{checked}, in worlds with another future, clock, start and history of runs", found)


def _others(base: Visit, span: Span) -> Iterator[tuple[str, World, Span, str]]:
    warm = warm_bounds(base)  # before that there is nothing that could have looked ahead
    cuts = [int(warm.start + share * len(warm)) // 60 * 60 for share in _CUTS]
    for cut in cuts:
        past, when = Span(span.start, cut), format_time(cut)
        yield "look-ahead", World("altered", cut), past, f"when the bars from {when} on were altered"
        yield "look-ahead", World("cut off", cut), past, f"when the bars from {when} on were cut off"
    yield "wall clock", World(clock_ahead=_AHEAD), span, "when the clock was 400 days and 7 hours ahead"
    later = Span(cuts[0], FOREVER)
    yield "dependence on the start", World(start=cuts[0]), later, f"when the run started at {format_time(cuts[0])}"
    if base.files:
        names = ", ".join(sorted(base.files)[:3])
        yield "earlier runs", World(hidden=base.files), span, f"when {names} did not exist"


def _judge(kind: str, first: Mapping[str, Records], seen: Visit, limit: Span, evidence: str) -> list[Finding]:
    if seen.error is not None:
        if kind in ("earlier runs", "dependence on the start") or seen.error_code.startswith(_TOO_LITTLE):
            return []  # a file that it cannot do without is a resource; a start or an end may leave too few bars
        return [Finding(kind, "(the run)", None, f"failed {evidence}: {seen.error.strip().splitlines()[-1]}")]
    return differences(kind, first, seen.runs[0], limit, evidence)
