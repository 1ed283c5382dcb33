"""Names and qualities of topics. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from qmtl.ports.broker import TopicSpec
from qmtl.wire.dag import Entry

#: Node types that decide what to hold.
TRADE_TYPES = frozenset({"target_position", "target_weight"})
#: Node types that only subscribe to queues of others.
QUERY_TYPES = frozenset({"TagQueryNode"})

SHARED, SIMULATED, PRIVATE = "", "sim", "private:"

_DAY_MS = 86_400_000
#: A stream keeps what is asked for twice over, for bars may be missing; but no longer than this.
_TWICE, _LONGEST_MS = 2, 36_525 * _DAY_MS
_FORMAT = "v1"
_SHORT, _LONGER, _LONGEST = 6, 8, 32
_PART = 40


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of service of a class of topics."""

    partitions: int
    replication: int
    retention_ms: int


QUALITIES = {
    "raw": Quality(3, 3, 7 * _DAY_MS),
    "indicator": Quality(1, 2, 30 * _DAY_MS),
    "trade": Quality(1, 3, 90 * _DAY_MS),
}


def quality_of(node_type: str) -> str:
    """Return the class of a node type.

    Examples
    --------
    >>> quality_of("StreamInput"), quality_of("sma"), quality_of("target_weight")
    ('raw', 'indicator', 'trade')
    """
    if node_type == "StreamInput":
        return "raw"
    return "trade" if node_type in TRADE_TYPES else "indicator"


def spec(topic: str, quality: str) -> TopicSpec:
    """Return what to ask of a broker, which caps replication by its size."""
    chosen = QUALITIES[quality]
    return TopicSpec(topic, chosen.partitions, chosen.replication, chosen.retention_ms)


def kept_ms(entry: Entry) -> int:
    """Return how long the topic of a stream has to keep records, in milliseconds: the bars that readers begin with.

    0 for other nodes, whose period is their own window.

    Examples
    --------
    >>> week = Entry("ab" * 32, 0, "StreamInput", "", "", "", [], interval=300, period=2016)
    >>> kept_ms(week) / 86_400_000
    14.0
    """
    if quality_of(entry.node_type) != "raw":
        return 0
    return min(_LONGEST_MS, _TWICE * 1000 * entry.period * entry.interval)


def candidates(entry: Entry, domain: str, asset: str) -> Iterator[str]:
    """Yield names for a node's topic, the best first; later ones are for when an earlier one is taken.

    Names are lower case and use ``_`` between parts only, so two of them never clash by case or by ``.`` and ``_``.

    Examples
    --------
    >>> node = Entry("ab12cd34" * 8, 0, "sma", "", "", "", [])
    >>> list(candidates(node, "", "btc"))[:2]
    ['btc_sma_ab12cd_v1', 'btc_sma_ab12cd34_v1']
    >>> next(candidates(node, "sim", "btc"))
    'btc_sma_ab12cd_v1_sim'
    """
    identifier = entry.node_id.removeprefix("sha3:")
    if domain.startswith(PRIVATE):
        identifier = hashlib.sha256(f"{domain}\n{identifier}".encode()).hexdigest()
    suffix = "_sim" if domain == SIMULATED else ""
    for length in (_SHORT, _LONGER, _LONGEST):
        yield f"{asset}_{slug(entry.node_type)}_{identifier[:length]}_{_FORMAT}{suffix}"


def assets(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the asset of each node: its stream's first tag, or ``multi`` where its streams differ."""
    found: dict[str, str] = {}
    for entry in entries:
        upstream = {found[edge.node_id] for edge in entry.inputs}
        if upstream:
            found[entry.node_id] = upstream.pop() if len(upstream) == 1 else "multi"
        else:
            found[entry.node_id] = slug(entry.tags[0]) if entry.tags else "any"
    return found


@lru_cache(maxsize=4096)
def slug(text: str) -> str:
    """Return lower-case letters, digits and ``-`` only.

    Examples
    --------
    >>> slug("BTC/USDT:USDT"), slug("target_position"), slug("…")
    ('btc-usdt-usdt', 'target-position', 'x')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_PART].rstrip("-") or "x"
