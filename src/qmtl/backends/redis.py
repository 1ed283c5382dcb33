"""Work queue, locks and control events in Redis; append-only files make them durable.

Whatever takes more than one command is a script, so it happens at once or not at all. All keys share one hash tag: a
cluster keeps them together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Self

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from qmtl.errors import UnavailableError
from qmtl.ports.dependency import Dependency
from qmtl.ports.event_bus import EventBus
from qmtl.ports.locks import Locks
from qmtl.ports.work_queue import WorkQueue
from qmtl.wire.events import Event, parse

_CONNECT_S, _ANSWER_S = 2.0, 3.0
#: Every call may be repeated, so a broken connection is tried again at once.
_RETRIES = 2

_READY, _LEASED, _PLACES, _SETTLED = (f"{{qmtl}}:queue:{part}" for part in ("ready", "leased", "places", "settled"))
_FENCE = "{qmtl}:fence"
_STREAM, _SEEN = "{qmtl}:events", "{qmtl}:event:"
#: Events are kept so long that a client comes back, and about so many.
_KEPT, _KEPT_S = 100_000, 86_400

_PUSH = """
local added = 0
for k = 1, #ARGV, 2 do
    if redis.call('HSETNX', KEYS[3], ARGV[k + 1], ARGV[k]) == 1 then
        redis.call('ZADD', KEYS[1], ARGV[k], ARGV[k + 1])
        added = added + 1
    end
end
return added
"""

_CLAIM = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZADD', KEYS[1], redis.call('HGET', KEYS[3], id), id)
end
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
for _, id in ipairs(ids) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZADD', KEYS[2], now + ARGV[2], id)
end
return ids
"""

_DONE = """
for _, id in ipairs(ARGV) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
end
"""

_ACQUIRE = """
local time = redis.call('TIME')
local token = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
local taken = {}
for k = 2, #ARGV do
    if redis.call('SET', ARGV[k], string.format('%.0f', token), 'NX', 'PX', ARGV[1]) then
        taken[#taken + 1] = ARGV[k]
        taken[#taken + 1] = string.format('%.0f', token)
        token = token + 1
    end
end
redis.call('SET', KEYS[1], string.format('%.0f', token))
return taken
"""

_RELEASE = """
for k = 1, #ARGV, 2 do
    if redis.call('GET', ARGV[k]) == ARGV[k + 1] then redis.call('DEL', ARGV[k]) end
end
"""

_PUBLISH = """
for k = 4, #ARGV, 2 do
    local seen = ARGV[1] .. ARGV[k]
    if redis.call('EXISTS', seen) == 0 then
        local position = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[k + 1])
        redis.call('SET', seen, position, 'EX', ARGV[3])
    end
end
"""


class _RedisPart(Dependency):
    """A client with deadlines."""

    kind = "redis"

    def __init__(self, client: Redis) -> None:
        self._client = client

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open by URL; whether somebody answers shows with the first call."""
        client = Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_S,
            socket_timeout=_ANSWER_S,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), _RETRIES),
            health_check_interval=30,
            client_name="qmtl",
        )
        return cls(client)

    async def check(self) -> str:
        info: dict[str, Any] = await self._told(self._client.info("server"))
        return str(info["redis_version"])

    async def close(self) -> None:
        await self._client.aclose()

    async def _run(self, script: str, keys: Sequence[str], *values: Any) -> Any:
        return await self._told(self._client.register_script(script)(keys=keys, args=values))

    async def _told(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise UnavailableError(f"Redis: {str(error) or type(error).__name__}", dependency=self.role) from error


class RedisQueue(_RedisPart, WorkQueue):
    """Sorted sets: what is ready by its place, what is leased by the end of its lease."""

    _KEYS = (_READY, _LEASED, _PLACES)

    async def push(self, items: Sequence[tuple[int, str]]) -> int:
        if not items:
            return 0
        return int(await self._run(_PUSH, self._KEYS, *(part for item in items for part in item)))

    async def claim(self, count: int, lease_s: float) -> list[str]:
        return [one.decode() for one in await self._run(_CLAIM, self._KEYS, count, lease_s)]

    async def done(self, ids: Sequence[str]) -> None:
        if ids:
            await self._run(_DONE, self._KEYS, *ids)

    async def depth(self) -> int:
        return int(await self._told(self._client.hlen(_PLACES)))

    async def is_fresh(self) -> bool:
        return not await self._told(self._client.exists(_SETTLED))

    async def settle(self) -> None:
        await self._told(self._client.set(_SETTLED, 1))


class RedisLocks(_RedisPart, Locks):
    """``SET NX PX``. One counter, never behind the server's clock, gives the tokens of all locks."""

    async def acquire(self, names: Sequence[str], ttl_s: float) -> dict[str, int]:
        taken = await self._run(_ACQUIRE, [_FENCE], int(ttl_s * 1000), *names)
        return {name.decode(): int(token) for name, token in zip(taken[::2], taken[1::2], strict=True)}

    async def release(self, held: Mapping[str, int]) -> None:
        await self._run(_RELEASE, [], *(part for item in held.items() for part in item))


class RedisBus(_RedisPart, EventBus):
    """A stream."""

    async def publish(self, events: Sequence[Event]) -> None:
        pairs = [part for event in events for part in (event.id, msgspec.json.encode(event))]
        await self._run(_PUBLISH, [_STREAM], _SEEN, _KEPT, _KEPT_S, *pairs)

    async def read(self, after: str, limit: int, wait_s: float) -> list[tuple[str, Event]]:
        block = max(1, int(min(wait_s, _ANSWER_S / 2) * 1000)) if wait_s > 0 else None
        found = await self._told(self._client.xread({_STREAM: after}, count=limit, block=block))
        rows = found[0][1] if found else []
        return [(position.decode(), parse(fields[b"event"])) for position, fields in rows]

    async def last(self) -> str:
        found = await self._told(self._client.xrevrange(_STREAM, count=1))
        return found[0][0].decode() if found else "0-0"

    async def position_of(self, event_id: str) -> str | None:
        position = await self._told(self._client.get(_SEEN + event_id))
        if position is None or not await self._told(self._client.xrange(_STREAM, position, position)):
            return None
        return str(position.decode())
