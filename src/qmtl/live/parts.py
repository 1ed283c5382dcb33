"""What a loop works with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qmtl.frame import Frame
from qmtl.live.job import Job
from qmtl.live.paper import Paper
from qmtl.live.run_store import RunStore
from qmtl.ports.record_log import RecordLog
from qmtl.streams.feed import Feed


@dataclass(frozen=True)
class Parts:
    """Everything that is given to a loop.

    Attributes
    ----------
    job : Job
        What to compute.
    log : RecordLog
        The records of topics.
    feeds : mapping of stream id to Feed
        Streams that this runner can produce.
    recorded : mapping of stream id to Frame
        What this runner holds of streams: what their topics say has to be the same.
    papers : mapping of strategy id to Paper
        Accounts.
    store : RunStore
        Outputs, journal and checkpoints.
    trace : str
        W3C trace context of what this runner writes.
    now : callable
        Seconds of a clock that never goes back.
    """

    job: Job
    log: RecordLog
    feeds: Mapping[str, Feed]
    recorded: Mapping[str, Frame]
    papers: Mapping[str, Paper]
    store: RunStore
    trace: str = ""
    now: Callable[[], float] = time.monotonic
