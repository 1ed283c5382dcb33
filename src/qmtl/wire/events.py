"""Control events as CloudEvents 1.0 in structured JSON."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

PROGRESS = "qmtl.strategy.progress"
QUEUE_MAP = "qmtl.strategy.queue_map"
QUEUE_UPDATE = "qmtl.queue_update"
QUEUE_GC = "qmtl.queue_gc"
SENTINEL_WEIGHT = "qmtl.sentinel_weight"
LAGGED = "qmtl.stream.lagged"
TAG_QUERY_UPSERT = "qmtl.tagquery.upsert"
NODE_ASSIGNED = "qmtl.node.assigned"
NODE_READY = "qmtl.node.ready"
NODE_QUARANTINED = "qmtl.node.quarantined"
SESSION_EXPIRED = "qmtl.session.expired"

#: What a DAG manager may tell a Gateway.
FROM_DAG_MANAGER = frozenset(
    {
        QUEUE_UPDATE,
        QUEUE_GC,
        SENTINEL_WEIGHT,
        TAG_QUERY_UPSERT,
        NODE_ASSIGNED,
        NODE_READY,
        NODE_QUARANTINED,
        SESSION_EXPIRED,
    }
)


class Event(msgspec.Struct, frozen=True, omit_defaults=False):
    """A CloudEvent; ``subject`` is the strategy that it concerns, or empty.

    Examples
    --------
    >>> Event(id="1", source="/dagm", type=QUEUE_GC, subject="", time="2026-01-01T00:00:00Z").specversion
    '1.0'
    """

    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any] = {}
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


def event(kind: str, *, source: str, at: float, subject: str = "", data: dict[str, Any], key: str = "") -> Event:
    """Make an event at a time in seconds UTC; with ``key`` its id is repeatable: sent twice, it is shown once."""
    from qmtl.interval import format_time

    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{source}/{key}") if key else uuid.uuid4())
    return Event(id=identifier, source=source, type=kind, subject=subject, time=format_time(int(at)), data=data)


def parse(raw: bytes) -> Event:
    """Decode an event; raises :class:`msgspec.DecodeError` or a subclass for anything else."""
    return msgspec.json.decode(raw, type=Event)
