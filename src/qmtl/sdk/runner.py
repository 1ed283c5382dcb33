"""Runs strategies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from qmtl.calendars import Calendar
from qmtl.errors import UsageError, unknown_name
from qmtl.interval import FOREVER, Span, parse_time
from qmtl.sdk.strategy import Built, Execution, Strategy, build_all

if TYPE_CHECKING:
    from qmtl.report.result import Result
    from qmtl.sdk.backtest import Request
    from qmtl.sdk.handle import Handle
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


class LiveOptions(TypedDict, total=False):
    """Options of a dry-run or live run.

    Attributes
    ----------
    data : mapping of stream name to source
        Feeds: recorded bars (what :class:`Options` takes) that are played again, ``"kafka://host:9092/topic"``,
        ``"generate://gbm?seed=1"``, or a :class:`qmtl.streams.Feed`. A stream that is left out is read from its queue.
    start_time, end_time : int, str or datetime
        Half-open span of recorded bars, as in :class:`Options`.
    speed : str or float
        ``"max"``, or how many times faster than the clock recorded bars are played: ``"60x"``, 60.0. 1 by default.
    until_end : bool
        End where the recorded bars end; otherwise the run goes on until it is stopped.
    faults : str
        Faults to inject into recorded bars: ``"late=0.02,double=0.01,seed=7"``.
    gateway_url : str
        Share computation with everybody at this Gateway; an embedded stack of its own by default.
    out : path
        Folder of the result. A run that was cut off there goes on.
    metrics_port : int
        Serve metrics of this run on this port of 127.0.0.1; 0 for any, see ``handle.metrics_url``.
    memory_limit : float
        MiB that this process may take; the run ends in order when it takes more. No limit by default.
    calendar, on_missing, costs, cash
        As in :class:`Options`.
    address : str or sequence of str
        Where each class is, ``file.py:Class``; kept in the result, so that ``qmtl parity`` finds it again.
    """

    start_time: int | str | datetime | None
    end_time: int | str | datetime | None
    data: Mapping[str, Any] | None
    speed: str | float
    until_end: bool
    faults: str
    gateway_url: str | None
    out: str | Path | None
    metrics_port: int | None
    memory_limit: float | None
    on_missing: Literal["skip", "fill", "fail"]
    calendar: str
    costs: Costs | None
    cash: float | None
    address: str | Sequence[str]


class Runner:
    """Runs a strategy over history, or on bars as they come.

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

    @staticmethod
    def dryrun(strategy: type[Strategy] | Sequence[type[Strategy]], **options: Unpack[LiveOptions]) -> Handle:
        """Run a strategy, or several, on bars as they come, with paper money; nodes that others compute are read.

        Parameters
        ----------
        strategy : subclass of Strategy, or a sequence of them
            What to run.
        **options : LiveOptions
            Feeds, speed and places; see :class:`LiveOptions`.

        Returns
        -------
        Handle
            With ``status()``, ``stop()`` and ``wait()``, which return the result in the format of a back-test.

        Raises
        ------
        QmtlError
            Bad strategy, data or options, or a Gateway that does not answer.
        """
        return _start(strategy, options, "dry-run")

    @staticmethod
    async def dryrun_async(
        strategy: type[Strategy] | Sequence[type[Strategy]], **options: Unpack[LiveOptions]
    ) -> Handle:
        """Do what :meth:`dryrun` does, inside a running event loop."""
        return await asyncio.to_thread(_start, strategy, options, "dry-run")

    @staticmethod
    def live(strategy: type[Strategy] | Sequence[type[Strategy]], **options: Unpack[LiveOptions]) -> Handle:
        """Do what :meth:`dryrun` does, for strategies that only compute: no broker can be configured yet.

        Raises
        ------
        UsageError
            The strategy trades.
        """
        return _start(strategy, options, "live")

    @staticmethod
    async def live_async(strategy: type[Strategy] | Sequence[type[Strategy]], **options: Unpack[LiveOptions]) -> Handle:
        """Do what :meth:`live` does, inside a running event loop."""
        return await asyncio.to_thread(_start, strategy, options, "live")


def _start(strategy: Any, options: LiveOptions, mode: str) -> Handle:
    from qmtl.sdk.dryrun import Request as Made
    from qmtl.sdk.handle import Handle
    from qmtl.streams.pace import parse_speed

    _check_names(options, LiveOptions)
    out, address, speed = options.get("out"), options.get("address", ()), options.get("speed", 1.0)
    request = Made(
        span=_span(options.get("start_time"), options.get("end_time")),
        calendar=Calendar(options.get("calendar", "24/7")),
        speed=parse_speed(speed if isinstance(speed, str) else f"{speed}x"),
        until_end=options.get("until_end", False),
        faults=options.get("faults", ""),
        on_missing=_one_of("on_missing", options.get("on_missing", "skip"), ("skip", "fill", "fail")),
        data=options.get("data"),
        costs=options.get("costs"),
        cash=_checked_cash(options.get("cash")),
        gateway_url=options.get("gateway_url"),
        out=None if out is None else Path(out),
        metrics_port=options.get("metrics_port"),
        memory_limit=_checked_limit(options.get("memory_limit")),
        mode=mode,
        addresses=(address,) if isinstance(address, str) else tuple(address),
    )
    return Handle.of(_built(strategy, trading=True), request, many=_are_many(strategy))


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

    _check_names(options, Options)
    return Made(
        span=_span(options.get("start_time"), options.get("end_time")),
        on_missing=_one_of("on_missing", options.get("on_missing", "skip"), ("skip", "fill", "fail")),
        engine=_one_of("engine", options.get("engine", "batch"), ("batch", "stream")),
        calendar=Calendar(options.get("calendar", "24/7")),
        data=options.get("data"),
        costs=options.get("costs"),
        cash=_checked_cash(options.get("cash")),
        on_progress=options.get("on_progress"),
    )


def _check_names(options: Mapping[str, Any], known: type) -> None:
    for name in options:
        if name not in known.__annotations__:
            raise unknown_name("option of a run", name, known.__annotations__)


def _checked_cash(cash: float | None) -> float | None:
    if cash is not None and not cash > 0:
        raise UsageError(f"cash is {cash!r}", hint="start with a positive amount")
    return cash


def _checked_limit(limit: float | None) -> float | None:
    if limit is not None and not limit > 0:
        raise UsageError(f"memory_limit is {limit!r}", hint="MiB that the process may take, such as 2000")
    return limit


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
