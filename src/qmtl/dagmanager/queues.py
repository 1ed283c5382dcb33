"""Brings topics about: CREATE, VERIFY, WAIT, BACKOFF."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from qmtl.backoff import backoff
from qmtl.dagmanager.topics import spec
from qmtl.errors import UnavailableError
from qmtl.ports.broker import Broker
from qmtl.telemetry.metrics import Metrics

_ATTEMPTS = 5
#: The first wait and the longest, in seconds.
WAITS_S = (0.05, 2.0)


async def ensure(broker: Broker, wanted: dict[str, str], metrics: Metrics) -> None:
    """Make sure that topics exist as their class says: ``wanted`` is topic to class.

    Raises
    ------
    UnavailableError
        Not all of them could be created and verified in five attempts.
    """
    missing, refused = dict(wanted), dict[str, str]()
    for attempt in range(_ATTEMPTS):
        missing = await _missing(broker, missing)
        if not missing:
            return
        refused = await broker.create([spec(topic, quality) for topic, quality in missing.items()])
        missing = await _missing(broker, missing)
        if not missing:
            return
        await asyncio.sleep(backoff(attempt, *WAITS_S))
    metrics.count("queue_create_error_total", len(missing))
    first = next(iter(missing))
    raise UnavailableError(
        f"{len(missing)} topics could not be created, the first is {first}: {refused.get(first, 'it does not appear')}",
        dependency=broker.role,
        retry_after_s=5.0,
        hint="check the broker's log, rights and the name",
    )


async def _missing(broker: Broker, wanted: dict[str, str]) -> dict[str, str]:
    there = await broker.exist([*wanted])
    return {topic: quality for topic, quality in wanted.items() if topic not in there}


def in_pieces(topics: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    """Cut topics into pieces that one request to a broker takes."""
    return [topics[k : k + size] for k in range(0, len(topics), size)]
