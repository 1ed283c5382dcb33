"""How the nodes of a strategy stand, as far as anybody knows."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from qmtl.errors import QmtlError
from qmtl.gateway.sessions import ATTENDED, keep
from qmtl.gateway.state import Gateway
from qmtl.ports.strategy_store import Stored
from qmtl.telemetry.logs import logger
from qmtl.wire.sessions import NodeStanding

#: So long an answer waits for standings, in seconds.
_WAIT_S = 1.0
_DOCUMENTS = 256
_UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("state", "done", "need", "reason", "eta_s", "producer", "host", "epoch", "last_bucket", "lag_s")
)
_log = logger("gateway")


class _Named(msgspec.Struct):
    node_id: str
    name: str = ""


class _Document(msgspec.Struct):
    nodes: list[_Named]


_decoder = msgspec.json.Decoder(_Document)


async def nodes_of(gateway: Gateway, stored: Stored) -> list[dict[str, Any]]:
    """Return placement and standing of each node; a standing is null where no runner attends to the strategy."""
    placement = stored.placement
    if placement is None:
        return []
    names, standings = await _names(gateway, stored), await _standings(gateway, stored)
    return [
        {
            "node_id": node,
            "name": names.get(node, ""),
            "topic": placement.queue_map[node],
            "action": action,
            **_told(standings.get(placement.queue_map[node])),
        }
        for node, action in placement.actions.items()
    ]


async def _names(gateway: Gateway, stored: Stored) -> dict[str, str]:
    """Return the names that the author gave to nodes."""
    known = gateway.names.get(stored.dag_hash)
    if known is None:
        dags = await gateway.parts.strategies.dags([stored.strategy_id])
        document = _decoder.decode(dags[stored.strategy_id])
        known = {node.node_id: node.name for node in document.nodes}
        keep(gateway.names, stored.dag_hash, known, _DOCUMENTS)
    return known


async def _standings(gateway: Gateway, stored: Stored) -> dict[str, NodeStanding]:
    if stored.state not in ATTENDED:
        return {}
    try:
        async with asyncio.timeout(_WAIT_S):
            return {one.topic: one for one in await gateway.parts.dag_manager.standings(stored.strategy_id)}
    except (QmtlError, TimeoutError) as error:
        _log.warning("standings are not known now", strategy_id=stored.strategy_id, why=str(error))
        return {}


def _told(one: NodeStanding | None) -> dict[str, Any]:
    if one is None:
        return _UNKNOWN
    lag = one.produced - one.read if one.produced is not None and one.read is not None else None
    return {
        "state": one.state,
        "done": one.done,
        "need": one.need,
        "reason": one.reason,
        "eta_s": one.eta_s,
        "producer": one.producer,
        "host": one.host,
        "epoch": one.epoch,
        "last_bucket": one.read,
        "lag_s": lag,
    }
