"""Runs strategies over history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from qmtl.calendars import Calendar
from qmtl.errors import UsageError, unknown_name
from qmtl.interval import Span, parse_time
from qmtl.sdk.strategy import Strategy, build_all

if TYPE_CHECKING:
    from qmtl.report.result import Result
    from qmtl.trading.costs import Costs

EngineName = Literal["batch", "stream"]
_FOREVER = 1 << 40


class Runner:
    """Runs a strategy: over history here; paper and live trading join it later.

    Examples
    --------
    >>> import pandas as pd
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import Runner, Strategy, StreamInput
    >>> class Mean(Strategy):
    ...     def setup(self):
    ...         price = StreamInput(tags=["BTC"], interval="1m", name="price")
    ...         self.add_nodes([price, sma(price.close, 2, name="mean")])
    >>> bars = pd.DataFrame({"ts": [0, 60, 120], "close": [1.0, 2.0, 4.0]})
    >>> Runner.offline(Mean, data={"price": bars}).outputs["mean"]["value"].tolist()
    [1.5, 3.0]
    """

    @overload
    @staticmethod
    def backtest(strategy: type[Strategy], **options: Any) -> Result: ...
    @overload
    @staticmethod
    def backtest(strategy: Sequence[type[Strategy]], **options: Any) -> list[Result]: ...
    @staticmethod
    def backtest(strategy: Any, **options: Any) -> Any:
        """Run a strategy, or several that share their common nodes, over history.

        Parameters
        ----------
        strategy : subclass of Strategy, or a sequence of them
            What to run. Nodes that several have in common are computed once.
        start_time, end_time : int, str or datetime, optional
            Half-open span of bucket starts; all data by default. Bars before the start are used to
            warm up where they exist.
        data : mapping of stream name to source
            Frames (pandas, polars, Arrow), paths of CSV or Parquet, or history providers.
        on_missing : {"skip", "fill", "fail"}
            What a missing bar does.
        engine : {"batch", "stream"}
            Two drivers of the same kernels; equal results to the bit.
        calendar : str
            Trading calendar; ``"24/7"`` by default.
        costs, cash : optional
            Override what the strategy says.
        on_progress : callable, optional
            Called with bars done and bars in all.

        Returns
        -------
        Result or list of Result

        Raises
        ------
        QmtlError
            Bad strategy, data or options; the message says where and what to do.
        """
        return _run_now(Runner.backtest_async(strategy, **options))

    @staticmethod
    async def backtest_async(
        strategy: Any,
        *,
        start_time: Any = None,
        end_time: Any = None,
        on_missing: str = "skip",
        data: Mapping[str, Any] | None = None,
        engine: EngineName = "batch",
        calendar: str = "24/7",
        costs: Costs | None = None,
        cash: float | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Do what :meth:`backtest` does, inside a running event loop."""
        from qmtl.sdk.backtest import Request, run

        request = Request(
            span=_span(start_time, end_time),
            on_missing=on_missing,
            data=data,
            engine=_engine(engine),
            calendar=Calendar(calendar),
            costs=costs,
            cash=cash,
            on_progress=on_progress,
        )
        many = not isinstance(strategy, type)
        results = await run(build_all(list(strategy) if many else [strategy]), request)
        return results if many else results[0]

    @staticmethod
    def offline(strategy: Any, **options: Any) -> Any:
        """Compute a strategy's nodes over its data without trading.

        Options are those of :meth:`backtest`.
        """
        return _run_now(Runner.offline_async(strategy, **options))

    @staticmethod
    async def offline_async(strategy: Any, **options: Any) -> Any:
        """Do what :meth:`offline` does, inside a running event loop."""
        from dataclasses import replace

        from qmtl.sdk.backtest import Request, run
        from qmtl.sdk.strategy import Execution

        many = not isinstance(strategy, type)
        built = [replace(b, execution=Execution()) for b in build_all(list(strategy) if many else [strategy])]
        request = Request(
            span=_span(options.pop("start_time", None), options.pop("end_time", None)),
            engine=_engine(options.pop("engine", "batch")),
            calendar=Calendar(options.pop("calendar", "24/7")),
            **options,
        )
        results = await run(built, request)
        return results if many else results[0]


def _span(start_time: Any, end_time: Any) -> Span:
    start = 0 if start_time is None else parse_time(start_time)
    end = _FOREVER if end_time is None else parse_time(end_time)
    if start >= end:
        raise UsageError(f"start {start_time!r} is not before end {end_time!r}", hint="the span is [start, end)")
    return Span(start, end)


def _engine(name: str) -> str:
    if name not in ("batch", "stream"):
        raise unknown_name("engine", name, ("batch", "stream"))
    return name


def _run_now(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise UsageError("an event loop is already running here", hint="await Runner.backtest_async(…) instead")
