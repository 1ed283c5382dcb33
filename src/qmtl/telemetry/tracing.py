"""Spans through HTTP headers, stored submissions and gRPC metadata, as W3C trace contexts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace

_KEYS = ("traceparent", "tracestate")


@contextmanager
def span(
    name: str, carrier: Mapping[str, str], attributes: Mapping[str, str | int] | None = None
) -> Iterator[dict[str, str]]:
    """Open a span below the one that a carrier names; yield a carrier for those below."""
    context = propagate.extract({key: carrier[key] for key in _KEYS if key in carrier})
    tracer = trace.get_tracer("qmtl")
    with tracer.start_as_current_span(name, context=context, attributes=dict(attributes or {})):
        onward: dict[str, str] = {}
        propagate.inject(onward)
        yield onward


def current() -> dict[str, str]:
    """Return a carrier of the span that is open here; empty without one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
