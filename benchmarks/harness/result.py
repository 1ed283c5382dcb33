"""What a row of the benchmark reports: outcomes, ratios, targets; as a table and as JSON."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.race import Outcome

BUSY = 1.0


@dataclass(frozen=True)
class Target:
    """A bound on something measured. `measured` is NaN when the measurement failed."""

    claim: str
    measured: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it holds; a failed measurement does not."""
        return self.measured <= self.limit

    def document(self) -> dict[str, Any]:
        """The target as a JSON object."""
        return {**vars(self), "met": self.met}


@dataclass
class Row:
    """One row of the benchmark, measured."""

    key: str
    title: str
    setting: Mapping[str, Any]
    header: tuple[str, ...]
    lines: list[tuple[str, ...]]
    targets: list[Target]
    failures: list[str] = field(default_factory=list)
    """What did not run, or did not compute the same thing."""
    detail: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {
            "row": self.key,
            "title": self.title,
            "setting": dict(self.setting),
            **self.detail,
            "targets": [target.document() for target in self.targets],
            "failures": self.failures,
        }

    def text(self) -> str:
        """The row as a terminal table."""
        setting = ", ".join(f"{name} {value:,}" for name, value in self.setting.items())
        parts = [f"{self.key}  {self.title}  ({setting})", "", table(self.header, self.lines), ""]
        parts += [targets(self.targets)] if self.targets else []
        parts += [f"  note: {note}" for note in self.notes]
        parts += [f"  FAILED: {failure}" for failure in self.failures]
        return "\n".join(parts) + "\n"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns under a header, the first to the left and the others to the right."""
    rows = [header, *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    shown = [
        "  "
        + "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([shown[0], "  " + "  ".join("-" * width for width in widths), *shown[1:]])


def targets(found: Sequence[Target]) -> str:
    """One line per target: pass or MISS, what was measured, what was wanted."""
    return "\n".join(
        f"  {'pass' if t.met else 'MISS'}  {t.claim}: {number(t.measured)} {t.unit}, at most {number(t.limit)} {t.unit}"
        for t in found
    )


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def compare(
    outcomes: Sequence[Outcome], subject: str, *, tolerance: float, slack: float = 0.0
) -> tuple[list[str], list[str]]:
    """Failures, and disagreements with the first outcome on the numbers that both checked.

    `tolerance` is relative, `slack` absolute; a contender that ran over other bars is left out.
    """
    failures = [f"{o.name}: {o.error}" for o in outcomes if o.error]
    reference = outcomes[0]
    notes = []
    for outcome in outcomes[1:]:
        for key in sorted(outcome.check.keys() & reference.check.keys()):
            got, want = float(outcome.check[key]), float(reference.check[key])
            if outcome.bars == reference.bars and abs(got - want) > slack + tolerance * max(abs(want), 1.0):
                line = f"{outcome.name} computed {key} {got:g}, {reference.name} {want:g}"
                (failures if outcome.name.startswith(subject) else notes).append(line)
    return failures, notes


def machine() -> dict[str, Any]:
    """Where and under what load this was measured."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load_before": round(load, 2),
    }


def announce(here: Mapping[str, Any]) -> None:
    """Say where this runs, and whether the machine has something else to do."""
    print("  ".join(f"{name} {value}" for name, value in here.items()), file=sys.stderr)
    if here["load_before"] > BUSY:
        print("the machine is busy: trust the ratios of this run, not its seconds", file=sys.stderr)
