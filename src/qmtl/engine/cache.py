"""A cache of bars outside an engine: the engine's rings with the engine's views, fed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qmtl.engine.records import Recorder
from qmtl.engine.ring import ObjectRing, Ring
from qmtl.engine.view import Bars, CacheView, Slot
from qmtl.errors import DataFormatError, IntervalError, WindowError, unknown_name
from qmtl.graph.node import Node, StreamInput
from qmtl.interval import format_interval, format_time, parse_interval


@dataclass
class _Upstream:
    """One upstream: its last bars and the check of its records."""

    slot: Slot
    recorder: Recorder
    last: int | None = None
    skipped: bool = False


class NodeCache:
    """The last bars of several upstream nodes, and the view that a compute function would get of them.

    Parameters
    ----------
    period : int
        Bars kept of each upstream.

    Examples
    --------
    >>> cache = NodeCache(period=2)
    >>> for ts in (0, 60, 180):
    ...     cache.append("price", "1m", ts, {"close": float(ts)})
    >>> cache.ready(), cache.latest("price"), cache.missing_flags()
    (True, (180, {'close': 180.0}), {'price': True})
    >>> cache.backfill_bulk("price", "1m", [(60, {"close": -1.0}), (120, {"close": 120.0})])
    >>> cache.view().array("price", "close")
    array([120., 180.])
    """

    def __init__(self, period: int) -> None:
        if period < 1:
            raise WindowError(f"period {period} is not positive", hint="keep at least one bar")
        self.period = period
        self._upstreams: dict[str, _Upstream] = {}

    def append(self, u: Node | str, interval: int | str, ts: int, payload: Any) -> None:
        """Add the newest bar of an upstream.

        Parameters
        ----------
        u : Node or str
            The upstream, or a name for it.
        interval : int or str
            Length of its bars.
        ts : int
            Bucket start, seconds UTC; later than the last one.
        payload : mapping of numbers, a number, a frame or an array
            What the upstream emitted.

        Raises
        ------
        DataFormatError
            ``ts`` is off the grid, or not later than the last bar.
        SchemaMismatchError
            Other fields than before.
        """
        upstream = self._known(u, interval)
        step, last = upstream.slot.node.interval, upstream.last
        if ts % step:
            raise DataFormatError(f"bar {ts} of {_label(u)!r} is off the grid of {format_interval(step)}")
        if last is not None and ts <= last:
            raise DataFormatError(
                f"bar {format_time(ts)} of {_label(u)!r} is not later than {format_time(last)}",
                hint="use backfill_bulk() for history",
            )
        self._store(upstream, ts, payload)
        upstream.skipped = last is not None and ts > last + step

    def backfill_bulk(self, u: Node | str, interval: int | str, items: Iterable[tuple[int, Any]]) -> None:
        """Merge ordered history under the bars that are there: where both have a bar, the one that is there wins.

        Raises
        ------
        DataFormatError
            The history is not in order, or off the grid.
        """
        upstream = self._known(u, interval)
        live = self._bars(upstream)
        merged = {**_in_order(items, _label(u), upstream.slot.node.interval), **dict(live)}
        upstream.slot.ring = upstream.slot.objects = None
        for ts in sorted(merged)[-self.period :]:
            self._store(upstream, ts, merged[ts])
        kept = [ts for ts, _ in self._bars(upstream)]
        upstream.skipped = len(kept) > 1 and kept[-1] > kept[-2] + upstream.slot.node.interval

    def ready(self) -> bool:
        """Whether there is an upstream, and every upstream has ``period`` bars."""
        return bool(self._upstreams) and all(len(self._bars(x)) == self.period for x in self._upstreams.values())

    def view(self, *, track_access: bool = False) -> CacheView:
        """Return read-only windows of all upstreams: the last ``period`` bars of each, or as many as there are."""
        for upstream in self._upstreams.values():
            self._bars(upstream)
        return CacheView([upstream.slot for upstream in self._upstreams.values()], track_access=track_access)

    def latest(self, u: Node | str) -> tuple[int, Any] | None:
        """Return the newest bar of an upstream as ``(ts, payload)``, None if it has none."""
        bars = self._bars(self._find(u))
        return bars[-1] if bars else None

    def get_slice(self, u: Node | str, start: int | None = None, end: int | None = None) -> list[tuple[int, Any]]:
        """Return the kept bars of an upstream whose start is in ``[start, end)``, oldest first."""
        low, high = -(1 << 62) if start is None else start, 1 << 62 if end is None else end
        return [bar for bar in self._bars(self._find(u)) if low <= bar[0] < high]

    def missing_flags(self) -> dict[str, bool]:
        """Return for each upstream whether buckets are missing just before its newest bar."""
        return {label: upstream.skipped for label, upstream in self._upstreams.items()}

    def last_timestamps(self) -> dict[str, int | None]:
        """Return the newest bucket start of each upstream, seconds UTC."""
        return {label: upstream.last for label, upstream in self._upstreams.items()}

    def as_xarray(self) -> Any:
        """Return all windows as one labelled tensor; see :meth:`CacheView.as_xarray`."""
        return self.view().as_xarray()

    @property
    def resident_bytes(self) -> int:
        """Memory of the rings, bytes; it does not grow with the number of bars."""
        return sum(x.slot.ring.resident_bytes for x in self._upstreams.values() if x.slot.ring is not None)

    def _known(self, u: Node | str, interval: int | str) -> _Upstream:
        """Return an upstream, made at its first bar."""
        seconds = parse_interval(interval)
        label = _label(u)
        if label not in self._upstreams:
            node = u if isinstance(u, Node) else StreamInput(tags=[u], interval=seconds, name=u)
            self._upstreams[label] = _Upstream(Slot(node, None, self.period), Recorder(node, 1))
        found = self._upstreams[label]
        if found.slot.node.interval != seconds:
            own = format_interval(found.slot.node.interval)
            raise IntervalError(f"{label!r} has bars of {own}, not of {format_interval(seconds)}")
        return found

    def _find(self, u: Node | str) -> _Upstream:
        label = _label(u)
        if label not in self._upstreams:
            raise unknown_name("upstream", label, self._upstreams)
        return self._upstreams[label]

    def _store(self, upstream: _Upstream, ts: int, payload: Any) -> None:
        slot = upstream.slot
        row = upstream.recorder.record(payload, ts)
        if row is None:
            raise DataFormatError(f"bar {format_time(ts)} has no payload", hint="leave the bucket out")
        upstream.last = ts
        if upstream.recorder.whole:
            slot.objects = slot.objects or ObjectRing(self.period)
            slot.objects.append(ts, row)
            slot.objects.trim()
        else:
            slot.ring = slot.ring or Ring(upstream.recorder.fields or (), 1, self.period)
            slot.ring.append(ts, [[number] for number in row])

    def _bars(self, upstream: _Upstream) -> list[tuple[int, Any]]:
        """Point the window at the newest bars and return them."""
        slot = upstream.slot
        ring = slot.ring if slot.ring is not None else slot.objects
        if ring is None:
            slot.period = slot.end = 0
            return []
        slot.period, slot.end = min(self.period, ring.count), ring.end
        return list(Bars(slot))


def _label(u: Node | str) -> str:
    return u.label if isinstance(u, Node) else u


def _in_order(items: Iterable[tuple[int, Any]], label: str, interval: int) -> Mapping[int, Any]:
    found: dict[int, Any] = {}
    last: int | None = None
    for ts, payload in items:
        if ts % interval or (last is not None and ts <= last):
            raise DataFormatError(
                f"history of {label!r} is not in order, or off the grid, at {format_time(ts)}",
                hint="sort it by time, one bar a bucket",
            )
        found[ts], last = payload, ts
    return found
