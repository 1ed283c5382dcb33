"""Runs a user's function over the rows of a chunk, on windows without copies."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qmtl.engine.plan import PlanNode
from qmtl.engine.records import Recorder
from qmtl.engine.ring import Floats, Ints, ObjectRing, Ring
from qmtl.engine.view import CacheView, Slot
from qmtl.errors import ComputeError, QmtlError
from qmtl.graph.node import Node
from qmtl.interval import format_time


@dataclass
class Feed:
    """What a node shows its Python readers: its rows of this chunk, then its ring.

    Attributes
    ----------
    node : Node
        The upstream node.
    period : int
        Bars that its longest reader needs.
    ring : Ring or ObjectRing, optional
        Made at the first row, when the fields are known.
    ts : int64[n]
        Buckets emitted in this chunk.
    """

    node: Node
    period: int
    ring: Ring | ObjectRing | None = None
    ts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def extend(self, ts: Ints, fields: Sequence[str], values: Sequence[Floats], width: int, burst: int) -> None:
        """Take the rows of a chunk, values float64[n, S] a field."""
        if self.ring is None:
            self.ring = Ring(fields, width, self.period, burst)
        assert isinstance(self.ring, Ring)  # a node emits records or whole frames, never both
        self.ts = ts
        self.ring.extend(ts, values)

    def extend_objects(self, ts: Ints, payloads: Sequence[Any]) -> None:
        """Take whole payloads of a chunk."""
        if self.ring is None:
            self.ring = ObjectRing(self.period)
        assert isinstance(self.ring, ObjectRing)  # a node emits records or whole frames, never both
        self.ring.trim()
        self.ts = ts
        for at, payload in zip(ts.tolist(), payloads, strict=True):
            self.ring.append(at, payload)


@dataclass
class Emitted:
    """Rows that a user's function emitted in one chunk."""

    ts: list[int] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)


class UserNode:
    """One node whose function is Python.

    Parameters
    ----------
    plan : PlanNode
        The node and its inputs.
    feeds : mapping of id to Feed
        Rings of its upstream nodes, shared with their other readers.
    track_access : bool
        Record what the function reads.
    """

    def __init__(self, plan: PlanNode, feeds: Mapping[str, Feed], *, track_access: bool = False) -> None:
        self.plan, self.node = plan, plan.node
        self.recorder = Recorder(plan.node, plan.width)
        self._feeds = [feeds[e.node.node_id] for e in plan.inputs if e.node is not None]
        self._slots = [Slot(e.node, e.key, e.period) for e in plan.inputs if e.node is not None]
        self._track = track_access
        self._view: CacheView | None = None
        #: Why it stopped for good, where its policy is to stop alone.
        self.failure: ComputeError | None = None
        self.calls = 0
        #: The last bucket at which the function failed.
        self.failed_at: int | None = None

    @property
    def reads(self) -> set[tuple[str, str | None]]:
        """What the function read so far, where access is tracked."""
        return (self._view.reads if self._view is not None else None) or set()

    def run(self, rows: Ints) -> Emitted:
        """Call the function at each of the lane's rows where every input is ready.

        Raises
        ------
        ComputeError
            The function raised, and the node's policy is to fail.
        SchemaMismatchError
            It returned other fields or types than before.
        """
        emitted = Emitted()
        if self.failure is not None or not len(rows):
            return emitted
        ends, fires = self._windows(rows)
        if not fires.any():
            return emitted
        view = self._ready_view()
        starts, positions = rows[fires].tolist(), [end[fires].tolist() for end in ends]
        compute, record, slots = self.node.compute_fn, self.recorder.record, self._slots
        assert compute is not None  # a node without a function is not planned
        (first, ends), *others = zip(slots, positions, strict=True)
        for k, bucket in enumerate(starts):
            first.end = ends[k]
            for slot, end in others:  # mostly none
                slot.end = end[k]
            view.bucket = bucket
            try:
                row = record(compute(view), bucket)
            except QmtlError:
                self.failed_at = bucket
                raise
            except Exception as error:  # noqa: BLE001  (a user's function may raise anything)
                if self._failed(error, bucket):
                    break
                continue
            if row is not None:
                emitted.ts.append(bucket)
                emitted.rows.append(row)
        self.calls += len(starts)
        return emitted

    def _windows(self, rows: Ints) -> tuple[list[Ints], Any]:
        """Return for each input where its window ends at each row, and the rows at which all are ready."""
        fires = np.ones(len(rows), bool)
        ends: list[Ints] = []
        interval = self.node.interval
        for feed, slot in zip(self._feeds, self._slots, strict=True):
            other = feed.node.interval
            seen = np.searchsorted(feed.ts, rows + (interval - other), side="right")
            ring = feed.ring
            if ring is None:
                return ends, np.zeros(len(rows), bool)
            before = ring.count - len(feed.ts)
            fires &= before + seen >= slot.period
            if other <= interval:
                fires &= self._has_bar(feed, seen, rows)
            ends.append(ring.end - len(feed.ts) + seen)
        return ends, fires

    @staticmethod
    def _has_bar(feed: Feed, seen: Ints, rows: Ints) -> Any:
        """Whether the newest visible bar lies in the row's own bucket: a missing bar emits nothing."""
        ring = feed.ring
        assert ring is not None  # the caller looked
        newest = np.full(len(rows), np.iinfo(np.int64).min)
        inside = seen > 0
        if inside.any():
            newest[inside] = feed.ts[seen[inside] - 1]
        carried = ring.end - len(feed.ts)
        if not inside.all() and carried > 0:
            newest[~inside] = int(ring.ts[carried - 1]) if isinstance(ring, Ring) else ring.items[carried - 1][0]
        return newest >= rows

    def _ready_view(self) -> CacheView:
        if self._view is None:
            for feed, slot in zip(self._feeds, self._slots, strict=True):
                if isinstance(feed.ring, Ring):
                    slot.ring = feed.ring
                else:
                    slot.objects = feed.ring
            self._view = CacheView(self._slots, track_access=self._track)
        return self._view

    def _failed(self, error: Exception, bucket: int) -> bool:
        """Apply the node's policy; return whether the node stops for good."""
        self.failed_at = bucket
        if self.node.on_error == "skip":
            return False
        told = self._told(error, bucket)
        if self.node.on_error == "quarantine":
            self.failure = told
            return True
        raise told from error

    def _told(self, error: Exception, bucket: int) -> ComputeError:
        shown = "".join(
            traceback.format_exception(type(error), error, error.__traceback__.tb_next if error.__traceback__ else None)
        )
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 1 else ""
        return ComputeError(
            f"node {self.node.label!r} failed at {format_time(bucket)}: {type(error).__name__}: {error}{place}",
            node=self.node.label,
            bucket=bucket,
            user_traceback=shown,
        )
