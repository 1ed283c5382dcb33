"""A run that goes on: its state, its end, its result."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.errors import RunError, ServiceError
from qmtl.live.heart import Heart, Session
from qmtl.live.loop import Loop, Parts
from qmtl.live.progress import Progress
from qmtl.live.run_store import RunStore
from qmtl.sdk.dryrun import Prepared, forget, host, prepare
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.sessions import Join, Standing

if TYPE_CHECKING:
    from qmtl.report.result import Result
    from qmtl.sdk.dryrun import Request
    from qmtl.sdk.strategy import Built

#: A stop that takes longer gives the running computation up: what was committed is safe, in seconds.
_STOP_S = 4.0
#: So often a handle looks whether its strategies were stopped by somebody else, in seconds.
_LOOK_S = 0.2


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
        self._prepared, self._many = prepared, many
        self._metrics = Metrics()
        self._store = RunStore(prepared.folder / "state.db")
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._results: list[Result] | None = None
        self._finishing = threading.Lock()
        self._session = Session(self._join(), prepared.client.attend)
        standing = self._session.attend(self._session.join)
        self._thread = threading.Thread(target=self._run, args=(standing,), name="qmtl-run", daemon=True)
        self._began = threading.Event()
        self._thread.start()
        self._began.wait()
        if not self._ended.is_set() or self._failure is None:
            return
        self._close()
        raise self._failure

    @classmethod
    def of(cls, strategies: Sequence[Built], request: Request, *, many: bool) -> Handle:
        """Start strategies; errors are those of what was asked for."""
        prepared = prepare(strategies, request)
        try:
            return cls(prepared, many=many)
        except BaseException:
            prepared.close()
            raise

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
            parts = Parts(made.job(), log, made.feeds.by_node, recorded, made.papers(), self._store)
            self._loop = Loop(parts, until=made.feeds.horizon if made.request.until_end else None)
            self._progress = Progress(self._loop, made.nodes_by_strategy, made.labels)
            self._heart = Heart(self._loop, self._session, self._progress, standing)
            self._heart.start()
            self._began.set()
            await self._loop.run()
        finally:
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

    def status(self) -> dict[str, Any]:
        """Return how the run is.

        Returns
        -------
        dict
            ``running``; ``through`` (everything that ends at or before it was delivered); ``trouble`` and
            ``control_plane`` (why they do not get on, or empty); ``late`` (bars of sealed buckets); ``nodes``: for each
            name its state, reason, warm-up, producer and counts.
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
            if not set(self.strategy_ids) & set(self._heart.strategies):
                self._loop.stop()  # all of them were stopped by somebody else
            if ends is not None and time.monotonic() > ends:
                blocked = self._progress.blocked(0.0)
                why = f"node {self._prepared.labels[blocked]!r} has not returned" if blocked else "it still computes"
                raise RunError(f"the run has not ended: {why}", hint="what was committed is kept; see status()")
        return self._finish()

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
                self._heart.end()
                self._release()
                try:
                    if self._failure is not None:
                        raise self._failure
                    self._results = self._assembled()
                    self._save(self._results)
                finally:
                    self._close()
        return self._results if self._many else self._results[0]

    def _assembled(self) -> list[Result]:
        from qmtl.sdk.live_result import assemble

        made = self._prepared
        session, counts = {"session_id": made.session_id, "gateway": made.client.url}, self._progress.counts()
        return [
            assemble(built, made, one, self._store, {n: counts[k] for k, n in built.dag.labels().items()}, session)
            for built, one in zip(made.strategies, made.placed, strict=True)
        ]

    def _save(self, results: list[Result]) -> None:
        for result, place in zip(results, self.places, strict=True):
            if place is not None:
                result.save(place)

    def _release(self) -> None:
        """Stop those of the strategies that nobody else runs."""
        for strategy_id in self.strategy_ids:
            try:
                nodes = self._prepared.client.strategy(strategy_id)["nodes"]
                if not any(node.get("producer") for node in nodes):
                    self._prepared.client.stop(strategy_id)
            except ServiceError as error:
                self._heart.trouble = error.message  # the Gateway is down: its records of us end by themselves

    def _close(self) -> None:
        self._store.close()
        self._prepared.close()
        if self._prepared.request.out is None:
            forget(self._prepared.folder)
