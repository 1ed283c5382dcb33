"""The report: one self-contained page that opens from disk, light or dark, wide or narrow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.calendars import Calendar
from qmtl.interval import format_interval, format_time
from qmtl.report.metrics import daily_returns
from qmtl.report.series import candles, line, monthly, plain_name, rolling_sharpe
from qmtl.report.summary import GROUPS, LABELS, basis, shown

if TYPE_CHECKING:
    import pandas as pd

    from qmtl.report.result import Result

#: Lines of one chart, each a list of ``[ts, value]``.
_Lines = list[list[list[float]]]
_CARDS = ("total_return", "sharpe", "max_drawdown", "volatility", "win_rate", "trades")
#: What a page shows at most; the files beside it hold everything.
_NODES, _LINES, _POINTS, _FILLS, _TRADES, _GAPS = 24, 4, 1_000, 1_500, 200, 50
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def render(result: Result) -> str:
    """Return the report as one HTML page without references to anything outside."""
    drawable = ((name, _lines(result.outputs[name])) for name in result.outputs)
    charts = dict(islice(((name, lines) for name, lines in drawable if lines), _NODES))
    body = [_header(result)]
    if result.has_traded:
        body += [_cards(result), *_charts(result), _monthly(result), _measures(result), _trades(result)]
    body += [_outputs(result, list(charts)), _graph(result), _gaps(result), _provenance(result)]
    data = json.dumps(_data(result, charts), separators=(",", ":")).replace("<", "\\u003c")
    return "".join([
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(result.strategy)} · qmtl</title><style>{_asset('tearsheet.css')}</style></head><body><main>",
        *body,
        f'</main><script type="application/json" id="data">{data}</script>',
        f"<script>{_asset('lightweight-charts.js')}</script><script>{_asset('tearsheet.js')}</script></body></html>\n",
    ])  # fmt: skip


def _asset(name: str) -> str:
    text = (files("qmtl.report") / "assets" / name).read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")


# --- data of the charts -------------------------------------------------------------------------


def _data(result: Result, charts: Mapping[str, _Lines]) -> dict[str, Any]:
    data: dict[str, Any] = {"equity": [], "nodes": [{"lines": lines} for lines in charts.values()]}
    if not result.has_traded:
        return data
    equity, metrics = result.equity, result.metrics
    ts, values = equity.index.to_numpy(), equity["equity"].to_numpy()
    calendar = Calendar(metrics.basis["calendar"])
    daily = daily_returns(ts, values, calendar)
    days = (ts[-1] // 86_400 - np.arange(len(daily))[::-1]) * 86_400
    prices: Any = result.prices
    is_universe = _is_universe(prices)
    if is_universe:
        prices = prices.xs(_traded_most(result), axis=1, level=1).dropna()
    bars = candles(prices) if "close" in prices and len(prices) else []
    close = prices["close"].to_numpy() if bars and not is_universe else np.empty(0)
    return data | {
        "equity": line(ts, values),
        "drawdown": line(ts, equity["drawdown"].to_numpy()),
        "benchmark": line(ts, close / close[0] * values[0]) if len(close) else [],
        "rolling": rolling_sharpe(daily, days, metrics.basis["periods"]),
        "candles": bars,
        "fills": _markers(result, [bar[0] for bar in bars]),
    }


def _markers(result: Result, starts: Sequence[float]) -> list[list[int]]:
    """Return the latest fills, each on the candle that contains it."""
    if not starts:
        return []
    fills = result.fills
    if _is_universe(result.prices):
        fills = fills[fills["symbol"] == _traded_most(result)]
    fills = fills.tail(_FILLS)
    at = np.searchsorted(np.array(starts), fills["ts"].to_numpy(), side="right") - 1
    side = np.where(fills["side"] == "buy", 1, -1)
    return [[int(starts[k]), int(s)] for k, s in sorted(set(zip(at.tolist(), side.tolist(), strict=True)))]


def _is_universe(table: pd.DataFrame) -> bool:
    """Whether the columns are pairs of field and symbol."""
    return isinstance(next(iter(table.columns), None), tuple)


def _traded_most(result: Result) -> Any:
    """Return the symbol with the most fills; the first one if nothing was traded."""
    counts = result.fills["symbol"].value_counts()
    return counts.index[0] if len(counts) else result.prices.columns[0][1]


def _lines(table: pd.DataFrame) -> _Lines:
    wanted = ["close"] if "close" in table else [c for c in table.columns if table[c].dtype.kind == "f"]
    if _is_universe(table):
        wanted = list(table.columns)
    return [line(table.index.to_numpy(), table[c].to_numpy(), _POINTS) for c in wanted[:_LINES] if len(table)]


# --- sections -----------------------------------------------------------------------------------


def _header(result: Result) -> str:
    made = result.provenance
    span = f"{format_time(made['start'])} – {format_time(made['end'])}"
    bars = ", ".join(f"{name}: {entry['bars']:,} bars" for name, entry in made["data"].items())
    return f'<h1>{escape(result.strategy)}</h1><div class="soft small">{span} · {escape(bars)}</div>'


def _cards(result: Result) -> str:
    made = []
    for name in _CARDS:
        label, unit = LABELS[name]
        value = result.metrics[name]
        tone = "" if name not in ("total_return", "sharpe") else " class=good" if value > 0 else " class=bad"
        made.append(f'<div class="card"><span class="soft small">{label}</span><b{tone}>{shown(value, unit)}</b></div>')
    notes = "".join(f"<div>{escape(note)}</div>" for note in result.metrics.notes.values())
    shown_notes = f'<div class="notes small">{notes}</div>' if notes else ""
    return f'<div class="cards">{"".join(made)}</div>{shown_notes}'


def _charts(result: Result) -> list[str]:
    note, symbol = ' <span class="soft small">· grey: buy and hold of as much money</span>', ""
    if _is_universe(result.prices):
        note, symbol = "", f" of {escape(str(_traded_most(result)))}"
    return [
        _chart(f"Equity{note}", "chart", "equity"),
        _chart("Drawdown", "chart low", "drawdown"),
        _chart(f"Price and fills{symbol}", "chart", "prices"),
    ]


def _chart(title: str, kind: str, place: str) -> str:
    return f'<section><h2>{title}</h2><div class="{kind}" id="{place}"></div></section>'


def _monthly(result: Result) -> str:
    table = monthly(result.equity)
    rows = []
    for year, months in table.items():
        whole = np.prod([1 + change for change in months.values()]) - 1
        cells = [_change(months.get(month)) for month in range(1, 13)] + [_change(float(whole))]
        rows.append([str(year), *cells])
    rolling = ""
    if result.metrics.basis["returns"] >= 60:
        rolling = _chart("Sharpe of 30 days", "chart low", "rolling")
    return f"<section><h2>Returns by month</h2>{_table(['', *_MONTHS, 'year'], rows)}</section>{rolling}"


def _change(value: float | None) -> str:
    if value is None:
        return ""
    return f'<span class="{"good" if value > 0 else "bad" if value < 0 else ""}">{value * 100:.2f} %</span>'


def _measures(result: Result) -> str:
    metrics, groups = result.metrics, []
    for title, entries in GROUPS.items():
        rows = [[label, shown(metrics[name], unit)] for name, label, unit in entries if name in metrics]
        groups.append(f"<div>{_table([title, ''], rows)}</div>")
    return (
        f'<section><h2>Measures</h2><div class="columns">{"".join(groups)}</div>'
        f'<p class="soft small">basis: {escape(basis(metrics))}. '
        "A signal known at a close fills at the next open.</p></section>"
    )


def _trades(result: Result) -> str:
    trades = result.trades
    latest: Any = trades.tail(_TRADES)[::-1]
    rows = [
        [
            escape(str(row.symbol)), str(row.side), format_time(int(row.entry_ts)), format_time(int(row.exit_ts)),
            f"{row.quantity:g}", f"{row.entry_price:,.6g}", f"{row.exit_price:,.6g}",
            f'<span class="{"good" if row.pnl > 0 else "bad"}">{row.pnl:,.2f}</span>', f"{row.costs:,.2f}",
        ]
        for row in latest.itertuples()
    ]  # fmt: skip
    heads = ["symbol", "side", "entry", "exit", "quantity", "at", "out at", "PnL", "costs"]
    left = len(trades) - len(rows)
    note = f'<p class="soft small">{left:,} earlier ones are in trades.csv.</p>' if left > 0 else ""
    return (
        f"<section><h2>Closed round trips</h2><details><summary>the latest {len(rows)} of {len(trades):,}</summary>"
        f"{_table(heads, rows)}{note}</details></section>"
    )


def _outputs(result: Result, shown_nodes: Sequence[str]) -> str:
    made = []
    for k, name in enumerate(shown_nodes):
        table = result.outputs[name]
        fields = ", ".join(map(plain_name, table.columns[:8]))
        told = f"{escape(fields)} · {len(table):,} outputs, first after {result.warmup[name]} bars"
        made.append(
            f'<section><h2>{escape(name)}</h2><div class="soft small">{told}</div>'
            f'<div class="chart low" id="node-{k}"></div></section>'
        )
    return f'<div class="pair">{"".join(made)}</div>'


def _graph(result: Result) -> str:
    names = {node["node_id"]: node["name"] for node in result.graph["nodes"]}
    rows = []
    for node in result.graph["nodes"]:
        inputs = ", ".join(names.get(edge["node_id"], "?") for edge in node["inputs"])
        identifier = f"<code>{node['node_id'][:16]}</code>"
        cells = (node["name"], node["node_type"], format_interval(node["interval"]), inputs)
        rows.append([*map(escape, cells), identifier])
    return f"<section><h2>Nodes</h2>{_table(['name', 'type', 'interval', 'inputs', 'id'], rows)}</section>"


def _gaps(result: Result) -> str:
    if not result.gaps:
        return ""
    rows = [
        [escape(gap["stream"]), format_time(gap["start"]), format_time(gap["end"]), f"{gap['bars']:,}"]
        for gap in sorted(result.gaps, key=lambda gap: -gap["bars"])[:_GAPS]
    ]
    total = sum(gap["bars"] for gap in result.gaps)
    title = f"{total:,} missing bars in {len(result.gaps):,} stretches; the longest {len(rows)}"
    table = _table(["stream", "from", "to", "bars"], rows)
    return f"<section><h2>Gaps</h2><details><summary>{title}</summary>{table}</details></section>"


def _provenance(result: Result) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td class=wide><code>{escape(text)}</code></td></tr>"
        for name, text in _flat(result.provenance)
    ]
    return f'<section><h2>Provenance</h2><div class="scroll"><table>{"".join(rows)}</table></div></section>'


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, format_time(value) if name in ("start", "end") else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
