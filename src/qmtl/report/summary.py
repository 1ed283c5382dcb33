"""Measures as people read them: names, units, groups; for the terminal and for the page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qmtl.interval import format_time

if TYPE_CHECKING:
    from qmtl.report.metrics import Metrics
    from qmtl.report.result import Result

#: Measure, what people call it, and its unit, in groups.
GROUPS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Return": (
        ("total_return", "total return", "%"),
        ("cagr", "CAGR", "%"),
        ("benchmark_return", "buy and hold", "%"),
        ("alpha", "alpha, a year", "%"),
        ("beta", "beta", ""),
        ("information_ratio", "information ratio", ""),
    ),
    "Risk": (
        ("volatility", "volatility, a year", "%"),
        ("sharpe", "Sharpe", ""),
        ("sortino", "Sortino", ""),
        ("psr", "P(Sharpe > 0)", "%"),
        ("max_drawdown", "max drawdown", "%"),
        ("max_drawdown_seconds", "longest drawdown", "d"),
        ("calmar", "Calmar", ""),
        ("var_95", "VaR 95, a day", "%"),
        ("cvar_95", "CVaR 95, a day", "%"),
        ("skew", "skew", ""),
        ("kurtosis", "excess kurtosis", ""),
    ),
    "Trades": (
        ("trades", "closed round trips", "n"),
        ("win_rate", "win rate", "%"),
        ("payoff", "payoff", ""),
        ("profit_factor", "profit factor", ""),
        ("expectancy", "expectancy a trip", "$"),
        ("exposure", "time in the market", "%"),
        ("gross_leverage", "gross leverage", ""),
        ("net_leverage", "net leverage", ""),
        ("turnover", "turnover, a year", "x"),
        ("fees", "fees", "$"),
        ("slippage", "slippage", "$"),
        ("costs_of_gross_profit", "costs of gross profit", "%"),
    ),
}
#: Measure to what people call it, and its unit.
LABELS = {name: (label, unit) for group in GROUPS.values() for name, label, unit in group}
_TERMINAL = (
    "total_return", "benchmark_return", "sharpe", "max_drawdown", "trades", "win_rate", "exposure", "fees", "slippage",
)  # fmt: skip


def shown(value: float, unit: str) -> str:
    """Return a measure for people.

    Examples
    --------
    >>> shown(0.0123, "%"), shown(float("nan"), ""), shown(172_800, "d")
    ('1.23 %', '–', '2.0 days')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    forms = {"%": f"{value * 100:,.2f} %", "n": f"{value:,.0f}", "$": f"{value:,.2f}", "x": f"{value:,.1f} ×"}
    return forms.get(unit) or (f"{value / 86_400:,.1f} days" if unit == "d" else f"{value:,.3f}")


def basis(metrics: Metrics) -> str:
    """Return the basis of the measures in a line."""
    return ", ".join(f"{name}={value}" for name, value in metrics.basis.items() if value is not None)


def summary(result: Result) -> str:
    """Return a result as lines for a terminal."""
    made = result.provenance
    lines = [f"{result.strategy}  {format_time(made['start'])} – {format_time(made['end'])}  ({made['engine']})"]
    metrics = result.metrics
    for name in _TERMINAL:
        if name in metrics:
            label, unit = LABELS[name]
            lines.append(f"  {label:<20}{shown(metrics[name], unit):>14}")
    if metrics:
        lines.append(f"  basis: {basis(metrics)}")
        lines += [f"  note: {note}" for note in metrics.notes.values()]
    lines.append("  nodes:")
    width = max(map(len, result.outputs), default=0)
    for name in result.outputs:
        rows, warm = len(result.outputs[name]), result.warmup[name]
        first = "the first after 1 bar" if warm == 1 else f"the first after {warm:,} bars"
        lines.append(f"    {name:<{width}}  {result.node_ids[name][:10]}  {rows:>9,} outputs, {first}")
    missing = sum(gap["bars"] for gap in result.gaps)
    if missing:
        lines.append(
            f"  gaps: {missing:,} bars missing in {len(result.gaps):,} stretches (on_missing={made['on_missing']})"
        )
    return "\n".join(lines)
