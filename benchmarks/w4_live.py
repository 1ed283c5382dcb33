"""W4: 100 strategies that share indicators, in one process, 1,000 bars a second: how long each bar takes."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from harness.commands import main
from harness.environments import CSP, FLOOR, QMTL
from harness.prices import minutes
from harness.race import Contender, Outcome, race
from harness.result import Row, Target, compare, number

BARS, SHORT_BARS = 3_500, 1_500
CONTENDERS = [
    Contender("numba step", FLOOR, "w4_numba.py"),
    Contender("QMTL engine", QMTL, "w4_qmtl.py", "engine"),
    Contender("QMTL machine", QMTL, "w4_qmtl.py", "machine"),
    Contender("csp C++ nodes", CSP, "w4_csp.py", "nodes"),
    Contender("csp exprtk", CSP, "w4_csp.py", "expression"),
]
RATIO = 0.6


def median(outcome: Outcome, name: str) -> float:
    """Median over the runs; NaN when there is none."""
    found = [told[name] for told in outcome.told if name in told]
    return statistics.median(found) if found else float("nan")


def measure(*, short: bool, repeats: int) -> Row:
    """Run everybody in turns; the target is against the faster of the two ways in csp."""
    bars = SHORT_BARS if short else BARS
    outcomes = race(CONTENDERS, {bars: minutes(bars)}, bars, repeats)
    failures, notes = compare(outcomes, "QMTL", tolerance=1e-4)
    return Row(
        "W4",
        "100 strategies of shared indicators, live, 1,000 bars a second: service time of a bar",
        {"bars": bars, "runs": repeats},
        ("contender", "p50 us", "p99 us", "QMTL engine is x of p50", "of p99"),
        _lines(outcomes),
        _targets(outcomes),
        failures,
        {"outcomes": [outcome.document() for outcome in outcomes]},
        (
            "csp counts from the first node of its cycle to the last, without the way from the thread that pushes;",
            *(f"{_pushed(outcome)} with it" for outcome in outcomes if outcome.name.startswith("csp")),
            "QMTL machine also keeps what all 222 nodes emitted and makes a batch of each for its topic",
            *notes,
        ),
    )


def _lines(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    engine = next(outcome for outcome in outcomes if outcome.name == "QMTL engine")
    names = ("p50_us", "p99_us")
    return [
        (
            outcome.name,
            *(number(median(outcome, name)) for name in names),
            *(number(median(engine, name) / median(outcome, name)) for name in names),
        )
        for outcome in outcomes
    ]


def _targets(outcomes: Sequence[Outcome]) -> list[Target]:
    engine = next(outcome for outcome in outcomes if outcome.name == "QMTL engine")
    peers = [outcome for outcome in outcomes if outcome.name.startswith("csp")]
    best = {name: min(median(peer, name) for peer in peers) for name in ("p50_us", "p99_us")}
    return [
        Target(f"QMTL engine / csp, {name[:3]}", median(engine, name) / value, RATIO, "x")
        for name, value in best.items()
    ]


def _pushed(outcome: Outcome) -> str:
    p50, p99 = (number(median(outcome, f"pushed_{name}")) for name in ("p50_us", "p99_us"))
    return f"{outcome.name} {p50} and {p99} us"


if __name__ == "__main__":
    sys.exit(main({"W4": measure}))
