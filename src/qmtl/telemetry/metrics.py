"""All metrics of the services, in one table. Their names are a contract."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Thread
from typing import Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

_MILLISECONDS = (1, 2, 5, 10, 20, 40, 80, 120, 160, 200, 400, 800, 2000, 10_000)
_SECONDS = tuple(bound / 1000 for bound in _MILLISECONDS)
#: Of a hand-over: detection takes a session's timeout, 5 s by default.
_HANDOVER = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 5.25, 5.5, 5.75, 6.0, 7.0, 10.0, 30.0)
#: A p95 is taken over so many of the latest values.
_RECENT = 1000

_BOUNDS = {"seconds": _SECONDS, "milliseconds": _MILLISECONDS, "handover": _HANDOVER}

Kind = Literal["counter", "gauge", "p95", "seconds", "milliseconds", "handover"]
#: name: (what it is, labels, help)
TABLE: dict[str, tuple[Kind, tuple[str, ...], str]] = {
    "gateway_e2e_latency_p95": ("p95", (), "Seconds from submission to mapped queues, 95th percentile of the latest."),
    "gateway_e2e_latency_seconds": ("seconds", (), "Seconds from submission to mapped queues."),
    "gateway_accept_seconds": ("seconds", (), "Seconds from request to durable in both stores."),
    "gateway_submissions_total": ("counter", ("outcome",), "Submissions by outcome."),
    "gateway_queue_depth": ("gauge", (), "Strategies that wait or are leased."),
    "gateway_illegal_transitions_total": ("counter", (), "Transitions that the life cycle or a fence refused."),
    "gateway_websocket_clients": ("gauge", (), "Open WebSocket connections."),
    "gateway_websocket_lagged_total": ("counter", (), "Connections closed because the client was too slow."),
    "gateway_sentinel_traffic_ratio": ("gauge", ("version",), "Weight of a version as the Gateway knows it."),
    "lost_requests_total": ("counter", (), "Accepted strategies that were found in no queue and put back."),
    "diff_duration_ms_p95": ("p95", (), "Milliseconds of a diff, 95th percentile of the latest."),
    "diff_duration_ms": ("milliseconds", (), "Milliseconds of a diff."),
    "diff_chunk_ack_timeout": ("counter", (), "Diff streams whose client did not acknowledge in time."),
    "queue_create_error_total": ("counter", (), "Topics that could not be created after all attempts."),
    "orphan_queue_total": ("gauge", (), "Queues that no strategy uses."),
    "sentinel_gap_count": ("gauge", (), "Strategies that were mapped without a version."),
    "dagmgr_active_version_weight": ("gauge", ("version",), "Weight of a version."),
    "sessions": ("gauge", (), "Runners that live."),
    "handover_seconds": ("handover", (), "Seconds from a dead producer's last beat to its successor's first record."),
    "determinism_violation_total": ("counter", (), "Nodes that gave two answers to the same question."),
    "node_processed_total": ("counter", ("node",), "Buckets of a node that were computed in this process."),
    "node_lag_seconds": ("gauge", ("node",), "Seconds from the end of a node's last bucket to now."),
    "nodecache_resident_bytes": ("gauge", (), "Bytes that windows and buffers of nodes take."),
}


@dataclass(frozen=True, slots=True)
class Served:
    """A server of metrics."""

    server: WSGIServer
    thread: Thread

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.server_port

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Metrics:
    """Counts and measures; each service has one of its own.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.count("queue_create_error_total")
    >>> metrics.observe("diff_duration_ms_p95", 3.0)
    >>> b"queue_create_error_total 1.0" in metrics.text()
    True
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._recent: dict[str, deque[float]] = {}
        self._all: dict[str, Counter | Gauge | Histogram] = {}
        for name, (kind, labels, text) in TABLE.items():
            self._all[name] = self._made(name, kind, labels, text)

    def _made(self, name: str, kind: str, labels: Iterable[str], text: str) -> Counter | Gauge | Histogram:
        if kind == "counter":
            return Counter(name, text, labels, registry=self._registry)
        if kind in _BOUNDS:
            return Histogram(name, text, labels, buckets=_BOUNDS[kind], registry=self._registry)
        gauge = Gauge(name, text, labels, registry=self._registry)
        if kind == "p95":
            recent = self._recent[name] = deque(maxlen=_RECENT)
            gauge.set_function(lambda: _p95(recent))
        return gauge

    def count(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        metric = self._labelled(name, labels)
        assert isinstance(metric, Counter)
        metric.inc(by)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        metric = self._labelled(name, labels)
        assert isinstance(metric, Gauge)
        metric.set(value)

    def observe(self, name: str, value: float) -> None:
        """Add a value to a histogram or to the latest values of a percentile."""
        if name in self._recent:
            self._recent[name].append(value)
            return
        metric = self._all[name]
        assert isinstance(metric, Histogram)
        metric.observe(value)

    def _labelled(self, name: str, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        return self._all[name].labels(**labels) if labels else self._all[name]

    def serve(self, port: int, host: str = "127.0.0.1") -> Served:
        """Answer ``GET /metrics`` from a thread of its own; port 0 takes a free one. OSError: the port is taken."""
        server, thread = start_http_server(port, host, self._registry)
        return Served(server, thread)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)


def _p95(values: deque[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else 0.0
