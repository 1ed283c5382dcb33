"""Runs strategies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from qmtl.calendars import Calendar
from qmtl.errors import UsageError, unknown_name
from qmtl.interval import FOREVER, Span, parse_time
from qmtl.sdk.strategy import Built, Execution, Strategy, build_all

if TYPE_CHECKING:
    from qmtl.report.result import Result
    from qmtl.sdk.backtest import Request
    from qmtl.trading.costs import Costs


class Options(TypedDict, total=False):
    """Options of a run.

    Attributes
    ----------
    start_time, end_time : int, str or datetime
        Half-open span of bucket starts, seconds UTC or ISO 8601; all data by default. Bars before the start
        warm the nodes up where they exist.
    data : mapping of stream name to source
        Frames (pandas, polars, Arrow), paths of CSV or Parquet files, or history providers.
    on_missing : {"skip", "fill", "fail"}
        What a missing bar does: nothing is emitted, the last value is carried, or the run fails.
    engine : {"batch", "stream"}
        Two drivers of the same kernels; equal results to the bit.
    calendar : str
        Trading calendar, ``"24/7"`` by default; a scheduled closure is no gap.
    costs : Costs
        Instead of what the strategy says.
    cash : float
        Money at the start, instead of what the strategy says.
    on_progress : callable
        Called with bars done and bars in all.
    gateway_url : str
        Submit to this Gateway for as long as the run takes; ``result.provenance["gateway"]`` says where each node's
        queue is and what was new to the world.
    """

    start_time: int | str | datetime | None
    end_time: int | str | datetime | None
    data: Mapping[str, Any] | None
    on_missing: Literal["skip", "fill", "fail"]
    engine: Literal["batch", "stream"]
    calendar: str
    costs: Costs | None
    cash: float | None
    on_progress: Callable[[int, int], None] | None
    gateway_url: str | None


class Runner:
    """Runs a strategy over history.

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
    def backtest(strategy: type[Strategy], **options: Unpack[Options]) -> Result: ...
    @overload
    @staticmethod
    def backtest(strategy: Sequence[type[Strategy]], **options: Unpack[Options]) -> list[Result]: ...
    @staticmethod
    def backtest(strategy: Any, **options: Unpack[Options]) -> Any:
        """Run a strategy, or several that share their common nodes, over history, and trade their targets.

        Parameters
        ----------
        strategy : subclass of Strategy, or a sequence of them
            What to run. Nodes that several have in common are computed once.
        **options : Options
            Span, data and policies; see :class:`Options`.

        Returns
        -------
        Result or list of Result

        Raises
        ------
        QmtlError
            Bad strategy, data or options; the message says where and what to do.
        """
        return _run_now(strategy, options, trading=True)

    @overload
    @staticmethod
    async def backtest_async(strategy: type[Strategy], **options: Unpack[Options]) -> Result: ...
    @overload
    @staticmethod
    async def backtest_async(strategy: Sequence[type[Strategy]], **options: Unpack[Options]) -> list[Result]: ...
    @staticmethod
    async def backtest_async(strategy: Any, **options: Unpack[Options]) -> Any:
        """Do what :meth:`backtest` does, inside a running event loop."""
        return await _run_async(strategy, options, trading=True)

    @overload
    @staticmethod
    def offline(strategy: type[Strategy], **options: Unpack[Options]) -> Result: ...
    @overload
    @staticmethod
    def offline(strategy: Sequence[type[Strategy]], **options: Unpack[Options]) -> list[Result]: ...
    @staticmethod
    def offline(strategy: Any, **options: Unpack[Options]) -> Any:
        """Compute a strategy's nodes over its data without trading; otherwise as :meth:`backtest`."""
        return _run_now(strategy, options, trading=False)

    @overload
    @staticmethod
    async def offline_async(strategy: type[Strategy], **options: Unpack[Options]) -> Result: ...
    @overload
    @staticmethod
    async def offline_async(strategy: Sequence[type[Strategy]], **options: Unpack[Options]) -> list[Result]: ...
    @staticmethod
    async def offline_async(strategy: Any, **options: Unpack[Options]) -> Any:
        """Do what :meth:`offline` does, inside a running event loop."""
        return await _run_async(strategy, options, trading=False)


def _run_now(strategy: Any, options: Options, *, trading: bool) -> Any:
    from qmtl.sdk.backtest import compute, prepare

    if _is_in_event_loop():
        raise UsageError("an event loop is already running here", hint="await Runner.backtest_async(…) instead")
    built, request = _built(strategy, trading=trading), _request(options)
    with _registered(built, options, trading=trading) as places:
        return _placed(strategy, compute(asyncio.run(prepare(built, request))), places)


async def _run_async(strategy: Any, options: Options, *, trading: bool) -> Any:
    from qmtl.sdk.backtest import compute, prepare

    built, request = _built(strategy, trading=trading), _request(options)
    registered = _registered(built, options, trading=trading)
    places = await asyncio.to_thread(registered.__enter__)  # the loop goes on meanwhile, as below
    try:
        prepared = await prepare(built, request)
        return _placed(strategy, await asyncio.to_thread(compute, prepared), places)
    finally:
        await asyncio.to_thread(registered.__exit__, None, None, None)


def _registered(built: list[Built], options: Options, *, trading: bool) -> AbstractContextManager[list[dict[str, Any]]]:
    from qmtl.sdk.submission import registered

    return registered(built, options.get("gateway_url"), "backtest" if trading else "offline")


def _placed(strategy: Any, results: list[Result], places: list[dict[str, Any]]) -> Any:
    for result, place in zip(results, places, strict=False):
        result.provenance["gateway"] = place
    return results if _are_many(strategy) else results[0]


def _are_many(strategy: Any) -> bool:
    return isinstance(strategy, Sequence)


def _built(strategy: Any, *, trading: bool) -> list[Built]:
    built = build_all([_checked(one) for one in (strategy if _are_many(strategy) else [strategy])])
    return built if trading else [replace(one, execution=Execution()) for one in built]


def _request(options: Options) -> Request:
    from qmtl.sdk.backtest import Request as Made

    for name in options:
        if name not in Options.__annotations__:
            raise unknown_name("option of a run", name, Options.__annotations__)
    cash = options.get("cash")
    if cash is not None and not cash > 0:
        raise UsageError(f"cash is {cash!r}", hint="start with a positive amount")
    return Made(
        span=_span(options.get("start_time"), options.get("end_time")),
        on_missing=_one_of("on_missing", options.get("on_missing", "skip"), ("skip", "fill", "fail")),
        engine=_one_of("engine", options.get("engine", "batch"), ("batch", "stream")),
        calendar=Calendar(options.get("calendar", "24/7")),
        data=options.get("data"),
        costs=options.get("costs"),
        cash=cash,
        on_progress=options.get("on_progress"),
    )


def _checked(strategy: Any) -> type[Strategy]:
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy
    raise UsageError(f"{strategy!r} is not a strategy", hint="pass the class itself: Runner.backtest(MyStrategy, …)")


def _span(start_time: Any, end_time: Any) -> Span:
    start = 0 if start_time is None else parse_time(start_time)
    end = FOREVER if end_time is None else parse_time(end_time)
    if start >= end:
        raise UsageError(f"start {start_time!r} is not before end {end_time!r}", hint="the span is [start, end)")
    return Span(start, end)


def _one_of(option: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise unknown_name(option, str(value), known)
    return value


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
