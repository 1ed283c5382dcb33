"""The checks that every operator must pass, for those of the library and for a user's own.

Each check builds a node of the operator over random bars with gaps and NaN, runs it in two ways that must agree, and
raises ``AssertionError`` with the first difference if they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmtl.engine.batch import Output, run_batch
from qmtl.engine.plan import Plan
from qmtl.engine.stream import StreamEngine, events, run_stream
from qmtl.frame import Frame
from qmtl.graph.dag import Dag
from qmtl.graph.node import StreamInput
from qmtl.graph.operator import Operator

if TYPE_CHECKING:
    from qmtl.graph.node import Node

_SYMBOLS = ("A", "B", "C")
_FIELDS = ("open", "high", "low", "close", "volume")
_START = 1_640_995_200


def sample_bars(rows: int = 1500, *, symbols: Sequence[str] = _SYMBOLS, gaps: float = 0.03, seed: int = 7) -> Frame:
    """Return a random walk of minutes for a universe, with missing bars.

    Parameters
    ----------
    rows : int
        Buckets before some are dropped.
    gaps : float
        Share of the buckets that are missing.
    """
    random = np.random.default_rng(seed)
    kept = random.random(rows) >= gaps
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 1e-3, (rows, len(symbols))), axis=0))
    open_ = np.vstack([close[:1], close[:-1]])
    spread = np.abs(random.normal(0.0, 5e-4, close.shape)) * close
    high, low = np.maximum(open_, close) + spread, np.minimum(open_, close) - spread
    volume = random.uniform(1.0, 10.0, close.shape)
    columns = dict(zip(_FIELDS, (open_, high, low, close, volume), strict=True))
    ts = _START + 60 * np.arange(rows, dtype=np.int64)
    return Frame(ts[kept], {name: np.ascontiguousarray(c[kept]) for name, c in columns.items()}, 60, tuple(symbols))


class Bench:
    """An operator on a universe of three symbols, ready to run.

    Parameters
    ----------
    operator : Operator
        What is checked.
    params : mapping, optional
        Parameters; whole numbers without a default become 5.
    """

    def __init__(self, operator: Operator, params: Mapping[str, Any] | None = None) -> None:
        self.stream = StreamInput(tags=["bench"], interval="1m", symbols=_SYMBOLS, name="price")
        given = {k: 5 if p.kind is int else 0.5 for k, p in operator.params.items() if p.default is ...}
        names = [name if name in _FIELDS else _FIELDS[3 - k % 4] for k, name in enumerate(operator.inputs)]
        interval = {"interval": "5m"} if operator.kind == "resample" else {}
        self.node: Node = operator(*(self.stream[n] for n in names), **given | dict(params or {}), **interval)
        fields = {self.stream.node_id: _FIELDS}
        self.plan = Plan.of(Dag.of([self.node]), fields, {self.node.node_id})

    def batch(self, bars: Frame, rows: int | None = None) -> Output:
        """Run the batch driver."""
        return run_batch(self.plan, {self.stream.node_id: bars}, rows=rows)[self.node.node_id]

    def streamed(self, bars: Frame, engine: StreamEngine | None = None) -> Output:
        """Run the stream driver."""
        return run_stream(self.plan, {self.stream.node_id: bars}, engine=engine)[self.node.node_id]

    @property
    def warmup(self) -> int:
        """Bars before the first output, as derived from the graph."""
        return self.plan.warmup(self.node.node_id)

    @property
    def history(self) -> int:
        """Bars to load before a start, so that there is an output at it."""
        return self.plan.history(self.stream.node_id)


def assert_same(a: Output, b: Output, what: str) -> None:
    """Assert that two outputs are equal to the bit."""
    assert a.ts.tolist() == b.ts.tolist(), f"{what}: {len(a.ts)} and {len(b.ts)} outputs"
    for name, column in a.columns.items():
        differs = column.view(np.int64) != b.columns[name].view(np.int64)
        assert not differs.any(), f"{what}: {name} at {a.ts[int(np.argmax(differs.any(axis=1)))]}"


def _since(output: Output, start: int) -> Output:
    return output.rows(int(np.searchsorted(output.ts, start)))


def batch_is_stream(bench: Bench, bars: Frame) -> None:
    """Assert that both drivers give the same bits."""
    assert_same(bench.batch(bars), bench.streamed(bars), "batch and stream")


def chunks_do_not_count(bench: Bench, bars: Frame) -> None:
    """Assert that the size of the chunks does not show."""
    whole = bench.batch(bars)
    for rows in (1, 7, 64, 1000):
        assert_same(whole, bench.batch(bars, rows), f"chunks of {rows}")


def starts_do_not_count(bench: Bench, bars: Frame) -> None:
    """Assert that a run from a later bar gives the same bits as soon as it has an output."""
    whole, random = bench.batch(bars), np.random.default_rng(11)
    for begin in random.integers(1, len(bars) - bench.history - 10, 5).tolist():
        later = bench.batch(bars.rows(begin))
        assert len(later.ts), f"no output from bar {begin} on"
        assert_same(_since(whole, int(later.ts[0])), later, f"from bar {begin} on")
        promised = int(bars.ts[begin + bench.history - 1])
        assert later.ts[0] <= promised, f"from bar {begin} on: the first output is later than derived"


def snapshots_go_on(bench: Bench, bars: Frame) -> None:
    """Assert that an engine restored from a snapshot goes on with the same bits, with equal snapshots."""
    half = len(bars) // 2
    first, second = bars.rows(None, half), bars.rows(half)
    going = StreamEngine(bench.plan)
    bench.streamed(first, going)
    restored = StreamEngine(bench.plan)
    restored.restore(going.snapshot())
    assert_same(bench.streamed(second, going), bench.streamed(second, restored), "snapshot and restore")
    assert going.snapshot() == restored.snapshot(), "snapshots of equal states differ"


def prefixes_give_prefixes(bench: Bench, bars: Frame) -> None:
    """Assert that cutting the future off changes nothing before: no look-ahead."""
    whole = bench.batch(bars)
    for end in (len(bars) // 3, len(bars) // 2 + 1, len(bars) - 1):
        part = bench.batch(bars.rows(None, end))
        assert_same(whole.rows(None, len(part.ts)), part, f"the first {end} bars")


def first_output_is_at_the_warmup(bench: Bench, bars: Frame) -> None:
    """Assert that without gaps the first output comes exactly at the derived bar."""
    bars = sample_bars(len(bars.ts), gaps=0.0)
    grid = 5 if bench.node.interval != 60 else 1
    for begin in (0, grid):
        fed = bars.rows(begin, begin + bench.warmup + 2 * grid)
        made = [int(event.end) for event, emitted in _replayed(bench, fed) if emitted and not np.isnan(emitted).all()]
        first = int(fed.ts[bench.warmup - 1]) + 60
        assert made, "no output"
        assert made[0] == first, f"first output at {made[0]}, derived {first}"


def _replayed(bench: Bench, bars: Frame) -> Iterable[tuple[Any, list[Any]]]:
    engine = StreamEngine(bench.plan)
    for event in events(bench.plan, {bench.stream.node_id: bars}):
        emitted = [value for emit in engine.handle(event) for value in emit.values.values()]
        yield event, emitted


def nan_passes(bench: Bench, bars: Frame) -> None:
    """Assert that a NaN is forgotten after the window, and until then poisons no other symbol."""
    dirty = {name: column.copy() for name, column in bars.columns.items()}
    at = len(bars) // 3
    for column in dirty.values():
        column[at, 1] = np.nan
    clean, spoiled = bench.batch(bars), bench.batch(Frame(bars.ts, dirty, 60, bars.symbols))
    later = int(bars.ts[at + bench.history + 1])
    assert_same(_since(clean, later), _since(spoiled, later), "after the NaN has left the window")


def symbols_do_not_mix(bench: Bench, bars: Frame) -> None:
    """Assert that another symbol's values do not show, unless the operator compares symbols."""
    changed = {name: column.copy() for name, column in bars.columns.items()}
    for column in changed.values():
        column[:, 1] *= 3.0
    clean, other = bench.batch(bars), bench.batch(Frame(bars.ts, changed, 60, bars.symbols))
    for name, column in clean.columns.items():
        for k in (0, 2):
            same = column[:, k].copy().view(np.int64) == other.columns[name][:, k].copy().view(np.int64)
            assert same.all(), f"{name} of symbol {k} changed with symbol 1"


#: What every operator must pass.
CHECKS: dict[str, Callable[[Bench, Frame], None]] = {
    check.__name__: check
    for check in (
        batch_is_stream, chunks_do_not_count, starts_do_not_count, snapshots_go_on, prefixes_give_prefixes,
        first_output_is_at_the_warmup, nan_passes, symbols_do_not_mix,
    )
}  # fmt: skip


def applies(check: str, operator: Operator) -> bool:
    """Whether a check makes sense for an operator: one that compares symbols mixes them."""
    return not (check == "symbols_do_not_mix" and operator.kind == "cross_section")


def check_operator(operator: Operator, params: Mapping[str, Any] | None = None) -> None:
    """Run every check on an operator.

    Parameters
    ----------
    operator : Operator
        A library operator or one of your own.
    params : mapping, optional
        Parameters to check it with.

    Raises
    ------
    AssertionError
        Names the check and the first difference.

    Examples
    --------
    >>> from qmtl.transforms import lag
    >>> check_operator(lag, {"periods": 3})
    """
    bench, bars = Bench(operator, params), sample_bars()
    for name, check in CHECKS.items():
        if applies(name, operator):
            check(bench, bars)
