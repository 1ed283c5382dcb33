"""Clients that submit many strategies at once and do not give up before each is acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from stack.waiting import pause

_PATIENCE_S = 90.0
_RATE = 1000
#: So many of the acknowledged submissions are sent once more, as a client does that missed the answer.
_AGAIN = 0.1


@dataclass
class Tally:
    """What clients were told."""

    ids: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    refusals: int = 0


async def submit_all(url: str, documents: Iterable[tuple[str, dict[str, Any]]], seed: int) -> Tally:
    """Submit named documents at 1,000 a second; each is repeated until it is acknowledged."""
    tally, dice = Tally(), random.Random(seed)
    timeout = aiohttp.ClientTimeout(total=15, sock_connect=2)
    connector = aiohttp.TCPConnector(limit=128)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
        for k, (name, document) in enumerate(documents):
            group.create_task(_submit(session, url, name, document, k / _RATE, tally, dice))
    return tally


async def _submit(session, url, name, document, delay, tally, dice) -> None:
    body = json.dumps({"dag_json": document, "run_type": "dry-run", "meta": {"name": name}}).encode()
    loop = asyncio.get_running_loop()
    await pause(delay)
    ends = loop.time() + _PATIENCE_S
    times = 2 if dice.random() < _AGAIN else 1
    while times:
        identifier = await _once(session, url, name, body, tally)
        if identifier is not None:
            assert tally.ids.setdefault(name, identifier) == identifier, f"{name} got two ids"
            times -= 1
            continue
        assert loop.time() < ends, f"{name} was not acknowledged within {_PATIENCE_S:.0f} s"
        tally.retries += 1
        await pause(0.1 + 0.2 * dice.random())


async def _once(session, url, name, body, tally) -> str | None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": name}
    try:
        async with session.post(f"{url}/strategies", data=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            if response.status in {202, 409}:
                return answer["strategy_id"]
            assert response.status == 503, (response.status, answer)
            assert int(response.headers["Retry-After"]) >= 1
            tally.refusals += 1
    except (aiohttp.ClientError, TimeoutError, ValueError):
        pass  # nobody there, or an answer that was cut off
    return None
