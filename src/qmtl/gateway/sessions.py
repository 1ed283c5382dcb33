"""Runners attend to strategies: they join, beat and leave here, and hear what they have to do."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from qmtl.errors import DocumentError
from qmtl.gateway import models
from qmtl.gateway.state import Gateway, gateway_of
from qmtl.gateway.worker import tell, transition
from qmtl.ports.strategy_store import Stored
from qmtl.wire import problems
from qmtl.wire.auth import OPERATE, SUBMIT, Principal
from qmtl.wire.bodies import read_json
from qmtl.wire.decoding import decoded
from qmtl.wire.sessions import Attending, Beat, Join

router = APIRouter(tags=["sessions"])

T = TypeVar("T")
_BOUND = 4 * 2**20
_TEXT = 200
#: Strategies of one session, and running strategies that are remembered.
_MANY, _REMEMBERED = 1000, 10_000
#: Only these are computed for.
ATTENDED = frozenset({"warming", "running"})
_decoder = msgspec.json.Decoder(Attending)


@router.post(
    "/sessions",
    openapi_extra=models.body_of(models.attending()),
    responses={200: {"model": models.Standing}, **models.problems(401, 403, 413, 415, 422, 503)},
)
async def attend(request: Request) -> Response:
    """Take what a runner says of itself, and answer what it has to do.

    A runner joins with its strategies, beats ten times in a session's timeout, and leaves. Strategies that are not the
    caller's, or not warming or running, are left out of the answer.
    """
    gateway = gateway_of(request)
    principal = await gateway.allow(request, SUBMIT)
    message = decoded(_decoder, await read_json(request, _BOUND), "message")
    _check(message)
    message = msgspec.structs.replace(message, owner=principal.owner)
    if isinstance(message, Join):
        message = msgspec.structs.replace(message, strategies=await _attendable(gateway, principal, message))
    standing = await gateway.parts.dag_manager.attend(message)
    if isinstance(message, Beat) and standing.known:
        await _warm(gateway, [one for one in message.ready if one in standing.strategies])
    return problems.answer(200, standing)


def _check(message: Attending) -> None:
    if not message.session_id or len(message.session_id) > _TEXT or not message.session_id.isprintable():
        raise DocumentError("a session id is 1 to 200 printable characters", pointer="/session_id")
    if isinstance(message, Join):
        if len(message.host) > _TEXT or not message.host.isprintable():
            raise DocumentError("a host is at most 200 printable characters", pointer="/host")
        if len(message.strategies) > _MANY:
            raise DocumentError(f"more than {_MANY} strategies in one session", pointer="/strategies")


async def _attendable(gateway: Gateway, principal: Principal, join: Join) -> dict[str, list[str]]:
    """Return the strategies that the caller may attend to, each with the topics that are its own to produce."""
    asked = [one for one in join.strategies if one.isprintable() and len(one) <= _TEXT]
    stored = await gateway.parts.strategies.get(asked) if asked else {}
    return {
        strategy_id: sorted(set(join.strategies[strategy_id]) & _producible(one))
        for strategy_id, one in stored.items()
        if one.state in ATTENDED and (one.owner == principal.owner or OPERATE in principal.scopes)
    }


def _producible(stored: Stored) -> set[str]:
    """Return the topics of a strategy but those of near nodes, which it only reads for a while."""
    placed = stored.placement
    return {topic for node, topic in placed.queue_map.items() if placed.actions[node] != "buffer"} if placed else set()


async def _warm(gateway: Gateway, ready: list[str]) -> None:
    """Let strategies run whose nodes have all had their first output."""
    new = [one for one in ready if one not in gateway.running]
    if not new:
        return
    stored = await gateway.parts.strategies.get(new)
    warming = [one for one in stored.values() if one.state == "warming"]
    steps = [transition(one, "warm", fence=one.fence, at=gateway.parts.now()) for one in warming]
    happened = await gateway.parts.strategies.transition(steps) if steps else []
    await tell(gateway.parts.bus, [step for step, ok in zip(steps, happened, strict=True) if ok])
    for strategy_id in stored:
        keep(gateway.running, strategy_id, None, _REMEMBERED)


def keep(kept: dict[str, T], key: str, value: T, bound: int) -> None:
    """Remember something, and forget what was remembered first."""
    kept[key] = value
    if len(kept) > bound:
        del kept[next(iter(kept))]
