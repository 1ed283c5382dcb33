"""A row that is a race: contenders, the ratios between them, the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.prices import minutes
from harness.race import Contender, Outcome, race
from harness.result import Row, Target, compare, number

SHORT_BARS = 20_000


@dataclass(frozen=True)
class Bound:
    """`subject` takes at most `limit` times as long per bar as `against`, or `limit` microseconds when that is None."""

    subject: str
    against: str | None
    limit: float


@dataclass(frozen=True)
class Race:
    """A row of the benchmark that times contenders on the same bars."""

    key: str
    title: str
    bars: int
    contenders: Sequence[Contender]
    bounds: Sequence[Bound]
    subject: str = "QMTL"
    """First word of the contenders that are ours."""
    tolerance: float = 1e-9
    slack: float = 0.0
    """Absolute difference of results that is allowed beside the relative one."""
    notes: tuple[str, ...] = ()

    def measure(self, *, short: bool, repeats: int) -> Row:
        """Run everybody; `short` cuts the bars and nothing else."""
        bars = SHORT_BARS if short else self.bars
        contenders = [
            Contender(c.name, c.environment, c.script, c.variant, min(c.bars, bars) if c.bars else None)
            for c in self.contenders
        ]
        data = {n: minutes(n) for n in {bars, *(c.bars for c in contenders if c.bars)}}
        return self._row(race(contenders, data, bars, repeats), bars, repeats)

    def _row(self, outcomes: list[Outcome], bars: int, repeats: int) -> Row:
        failures, disagreements = compare(outcomes, self.subject, tolerance=self.tolerance, slack=self.slack)
        ours = [o for o in outcomes if o.name.startswith(self.subject)]
        return Row(
            self.key,
            self.title,
            {"bars": bars, "runs": repeats},
            ("contender", "ms", "us/bar", "first s", "peak MB", *(f"{o.name} is x of it" for o in ours)),
            [_line(o, ours) for o in outcomes],
            [self._target(bound, {o.name: o for o in outcomes}) for bound in self.bounds],
            failures,
            {
                "outcomes": [o.document() for o in outcomes],
                "ratios": {mine.name: {o.name: mine.per_bar_us / o.per_bar_us for o in outcomes} for mine in ours},
            },
            (*self.notes, *disagreements),
        )

    def _target(self, bound: Bound, outcomes: dict[str, Outcome]) -> Target:
        mine = outcomes[bound.subject].per_bar_us
        if bound.against is None:
            return Target(bound.subject, mine, bound.limit, "us/bar")
        return Target(f"{bound.subject} / {bound.against}", mine / outcomes[bound.against].per_bar_us, bound.limit, "x")


def _line(outcome: Outcome, ours: Sequence[Outcome]) -> tuple[str, ...]:
    name = outcome.name if len({o.bars for o in (outcome, *ours)}) == 1 else f"{outcome.name} ({outcome.bars:,} bars)"
    if outcome.error:
        return (name, "failed", *("" for _ in range(3 + len(ours))))
    return (
        name,
        number(outcome.median_s * 1e3),
        number(outcome.per_bar_us),
        number(outcome.first_s or float("nan")),
        number(outcome.peak_mb or 0.0),
        *(number(mine.per_bar_us / outcome.per_bar_us) for mine in ours),
    )
