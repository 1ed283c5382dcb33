"""A run that goes on: its state, its end, its result."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.errors import RunError, ServiceError, UsageError
from qmtl.live.heart import Heart, Session
from qmtl.live.loop import Loop
from qmtl.live.parts import Parts
from qmtl.live.progress import Progress
from qmtl.live.watch import Watch
from qmtl.sdk.dryrun import Prepared, host, prepare
from qmtl.sdk.tag_queries import queries
from qmtl.sdk.upstreams import Upstreams
from qmtl.telemetry.metrics import Metrics, Served
from qmtl.wire.sessions import Join, Standing

if TYPE_CHECKING:
    from qmtl.ports.record_log import RecordLog
    from qmtl.report.result import Result
    from qmtl.sdk.dryrun import Request
    from qmtl.sdk.strategy import Built

#: A stop that takes longer gives the running computation up: what was committed is safe, in seconds.
_STOP_S = 4.0
#: So often a handle looks whether its strategies were stopped by somebody else, in seconds.
_LOOK_S = 0.2


def _traceparent() -> str:
    """Return the trace context of the span that is open here, if somebody uses OpenTelemetry at all."""
    if "opentelemetry.trace" not in sys.modules:
        return ""
    from qmtl.telemetry.tracing import current

    return current().get("traceparent", "")


class Handle:
    """A dry-run or live run.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import Runner, Strategy, StreamInput
    >>> class Mean(Strategy):
    ...     def setup(self):
    ...         price = StreamInput(tags=["BTC"], interval="1m", name="price")
    ...         self.add_nodes([price, sma(price.close, 2, name="mean")])
    >>> bars = pd.DataFrame({"ts": [0, 60, 120], "close": [1.0, 2.0, 4.0]})
    >>> handle = Runner.dryrun(Mean, data={"price": bars}, speed="max", until_end=True)
    >>> handle.wait().outputs["mean"]["value"].tolist()
    [1.5, 3.0]
    """

    def __init__(self, prepared: Prepared, *, many: bool) -> None:
        assert prepared.place is not None  # prepare() opens it
        self._prepared, self._many, self._place = prepared, many, prepared.place
        self._metrics = Metrics()
        self._served = self._serving()
        self._store = self._place.store
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._results: list[Result] | None = None
        self._finishing = threading.Lock()
        self._is_begun = False
        self._trace = _traceparent()
        asked = queries(prepared.strategies)
        self._upstreams = Upstreams(prepared, asked) if asked else None
        self._session = Session(self._join(), prepared.client.attend)
        self._began = threading.Event()
        try:
            standing = self._session.attend(self._session.join)
        except BaseException:  # whatever it is, the port is let go
            self._unserved()
            raise
        threading.Thread(target=self._run, args=(standing,), name="qmtl-run", daemon=True).start()
        self._began.wait()
        self._check_begun()

    def _check_begun(self) -> None:
        if self._failure is not None and not self._is_begun:
            self._unserved()
            raise self._failure

    @classmethod
    def of(cls, strategies: Sequence[Built], request: Request, *, many: bool) -> Handle:
        """Start strategies; errors are those of what was asked for."""
        prepared = prepare(strategies, request)
        try:
            return cls(prepared, many=many)
        except BaseException:  # whatever it is, nothing of this run stays behind
            prepared.withdraw()
            prepared.close()
            if prepared.place is not None:
                prepared.place.close()
            raise

    def _serving(self) -> Served | None:
        port = self._prepared.request.metrics_port
        if port is None:
            return None
        try:
            return self._metrics.serve(port)
        except OSError as error:
            why = f"cannot serve metrics on 127.0.0.1:{port}: {error.strerror or error}"
            raise UsageError(why, hint="another program has the port; choose another, or 0 for any") from error

    def _unserved(self) -> None:
        if self._served is not None:
            self._served.close()

    def _join(self) -> Join:
        made = self._prepared
        strategies = {
            one.strategy_id: made.computable(one, built)
            for one, built in zip(made.placed, made.strategies, strict=True)
        }
        return Join(made.session_id, strategies, host())

    # ------------------------------------------------------------------------- the run's thread

    def _run(self, standing: Standing) -> None:
        try:
            asyncio.run(self._live(standing))
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._failure = error
        finally:
            self._began.set()
            self._ended.set()

    async def _live(self, standing: Standing) -> None:
        from qmtl.backends.connect import open_log

        made = self._prepared
        log = await open_log(standing.broker_url)
        try:
            recorded = {node: bound.frame for node, bound in made.feeds.bound.items()}
            feeds, papers = made.feeds.by_node, made.papers()
            parts = Parts(made.job(), log, feeds, recorded, papers, self._store, trace=self._trace)
            self._loop = Loop(parts, until=made.feeds.horizon if made.request.until_end else None)
            self._progress = Progress(self._loop, made.nodes_by_strategy, made.labels)
            self._heart = Heart(self._loop, self._session, self._progress, standing)
            trace_id = self._trace.split("-")[1] if self._trace else ""
            self._watch = Watch(self._progress, self._metrics, made.request.memory_limit, trace_id)
            self._heart.start()
            self._watch.start()
            self._is_begun = True
            self._began.set()
            if self._upstreams is not None:
                await self._followed(self._upstreams, await open_log(standing.broker_url))
            else:
                await self._loop.run()
        finally:
            await log.close()

    async def _followed(self, upstreams: Upstreams, log: RecordLog) -> None:
        """Run the loop, and beside it follow what tag queries match."""
        following = asyncio.create_task(upstreams.follow(self._loop, log))
        try:
            await self._loop.run()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await log.close()

    # -------------------------------------------------------------------------------- the face

    @property
    def strategy_ids(self) -> list[str]:
        """Ids of the strategies, in the order in which they were given."""
        return [made.strategy_id for made in self._prepared.placed]

    @property
    def gateway_url(self) -> str:
        """Where the control plane is."""
        return self._prepared.client.url

    @property
    def places(self) -> list[Path | None]:
        """Folder of each strategy's result, in the order in which they were given; None without ``out``."""
        return self._prepared.places

    @property
    def resumed_from(self) -> int | None:
        """Up to where an earlier life of this run came, seconds UTC; None for a fresh start."""
        return self._place.through

    @property
    def metrics_url(self) -> str | None:
        """Where this run's metrics are served, if that was asked for."""
        return None if self._served is None else f"http://127.0.0.1:{self._served.port}/metrics"

    @property
    def faults(self) -> dict[str, str]:
        """Why nodes are quarantined, by name; empty when all is well.

        A run goes on without them and what depends on them, and its result holds what came before.
        """
        return self._progress.faults

    def status(self) -> dict[str, Any]:
        """Return how the run is.

        Returns
        -------
        dict
            ``running``; ``through`` (everything that ends at or before it was delivered) and ``until`` (where the
            recorded bars end), ISO 8601 or None; ``trouble`` and ``control_plane`` (why they do not get on, or empty);
            ``late`` (bars of sealed buckets); ``nodes``: for each name ``node_id``, ``state`` (waiting, warming, ready,
            stalled, quarantined) and ``reason``, ``done`` of ``need`` bars of its warm-up with ``eta_s``, ``producer``
            (whether it is computed here) and ``epoch``, ``last`` bucket and ``lag_s`` from its end to now, and how many
            records were ``computed`` here and ``read`` from its queue.
        """
        return {"running": not self._ended.is_set(), "control_plane": self._heart.trouble, **self._progress.status()}

    def stop(self, timeout_s: float = _STOP_S) -> Any:
        """Stop the run and return what it has made so far, as :meth:`wait` does.

        Raises
        ------
        RunError
            A user's function did not return in time; what was committed before is kept.
        """
        self._loop.stop()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float | None = None) -> Any:
        """Wait for the end and return the result, or a list of them for several strategies.

        Raises
        ------
        RunError
            It has not ended in time.
        QmtlError
            What ended the run.
        """
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ended.wait(_LOOK_S):
            if not self._is_wanted:
                self._loop.stop()
            if self._watch.failure is not None and ends is None:
                ends = time.monotonic() + _STOP_S
            if ends is not None and time.monotonic() > ends:
                self._give_up()
        return self._finish()

    @property
    def _is_wanted(self) -> bool:
        """Whether some of the strategies have not been stopped by somebody else."""
        return bool(set(self.strategy_ids) & set(self._heart.strategies))

    def _give_up(self) -> None:
        """Say why the run does not end."""
        if self._watch.failure is not None:
            self.abandon()
            raise self._watch.failure
        blocked = self._progress.blocked(0.0)
        why = f"node {self._prepared.labels[blocked]!r} has not returned" if blocked else "it still computes"
        raise RunError(f"the run has not ended: {why}", hint="what was committed is kept; see status()")

    async def wait_async(self, timeout_s: float | None = None) -> Any:
        """Do what :meth:`wait` does, inside a running event loop."""
        return await asyncio.to_thread(self.wait, timeout_s)

    async def stop_async(self, timeout_s: float = _STOP_S) -> Any:
        """Do what :meth:`stop` does, inside a running event loop."""
        return await asyncio.to_thread(self.stop, timeout_s)

    def abandon(self) -> None:
        """Leave a run whose user function does not return: its roles go to others, what was committed is kept."""
        self._heart.end()
        self._prepared.close()

    # --------------------------------------------------------------------------------- the end

    def _finish(self) -> Any:
        with self._finishing:
            if self._results is None:
                has_left = self._heart.end()
                self._watch.end()
                is_over = self._loop.is_over or not self._is_wanted
                if has_left:  # else nobody answers, and what is known of us ends by itself
                    self._release()
                try:
                    self._results = self._made()
                finally:
                    self._close(ended=is_over and self._results is not None)
        if self._watch.failure is not None:
            raise self._watch.failure
        return self._results if self._many else self._results[0]

    def _made(self) -> list[Result]:
        """Return and save the results; raises what ended the run."""
        if self._failure is not None:
            raise self._failure
        results = self._assembled()
        for result, place in zip(results, self.places, strict=True):
            if place is not None:
                result.save(place)
        return results

    def _assembled(self) -> list[Result]:
        from qmtl.sdk.live_result import assemble

        made = self._prepared
        if self._upstreams is not None:
            made = replace(made, plan=self._upstreams.plan(self._store))
        session, counts = {"session_id": made.session_id, "gateway": made.client.url}, self._progress.counts()
        results = []
        for built, one, account in zip(made.strategies, made.placed, made.account_ids, strict=True):
            labels, kept = built.dag.labels(), replace(one, strategy_id=account)
            nodes = {name: counts[node] for node, name in labels.items() if node in counts}
            result = assemble(built, made, kept, self._store, nodes, session)
            faults = {name: why for name, why in self.faults.items() if name in labels.values()}
            result.provenance.update({"strategy_id": one.strategy_id, **({"faults": faults} if faults else {})})
            results.append(result)
        return results

    def _release(self) -> None:
        """Stop those of the strategies that nobody else attends to."""
        for strategy_id in self.strategy_ids:
            try:
                nodes = self._prepared.client.strategy(strategy_id)["nodes"]
                if all(node.get("state") is None for node in nodes):
                    self._prepared.client.stop(strategy_id)
            except ServiceError as error:
                self._heart.trouble = error.message  # the Gateway is down: its records of us end by themselves

    def _close(self, *, ended: bool = False) -> None:
        self._unserved()
        self._prepared.close()
        self._place.close(ended=ended)
