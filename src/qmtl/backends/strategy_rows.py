"""Rows of strategies, the same in every relational store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from qmtl.ports.strategy_store import Placement, Stored

#: Everything of a strategy but its document.
COLUMNS = "strategy_id, seq, owner, run_type, dag_hash, meta, state, fence, placement, detail, submitted_at, updated_at"


def placement_bytes(placement: Placement | None) -> bytes | None:
    """Return how a placement is kept."""
    return msgspec.json.encode(placement) if placement else None


def stored(row: Mapping[str, Any]) -> Stored:
    """Return the strategy of a row of :data:`COLUMNS`."""
    placement = msgspec.json.decode(row["placement"], type=Placement) if row["placement"] else None
    return Stored(**(dict(row) | {"meta": json.loads(row["meta"]), "placement": placement}))
