"""Asks what may be down how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

#: A dependency that does not answer so long is not well, in seconds; and how often it is asked at most.
_DEADLINE_S, _EVERY_S = 1.5, 1.0


class Checkable(Protocol):
    """Something with a role and a kind that tells its version, or raises."""

    role: str
    kind: str

    async def check(self) -> str:
        """Return the version of the other side, or raise."""


class Checkup:
    """Asks dependencies how they are: all at once, with a deadline, and at most once a second whoever wants to know."""

    def __init__(self, dependencies: Sequence[Checkable]) -> None:
        self._dependencies = dependencies
        self._asked_at, self._found = float("-inf"), dict[str, dict[str, Any]]()
        self._asking = asyncio.Lock()

    async def status(self) -> dict[str, Any]:
        """Return ``ok``, and for each dependency by role its kind, version, latency in milliseconds, or error."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            if loop.time() - self._asked_at > _EVERY_S:
                checks = await asyncio.gather(*map(_checked, self._dependencies))
                self._found = {one.role: check for one, check in zip(self._dependencies, checks, strict=True)}
                self._asked_at = loop.time()
            return {"ok": all(check["ok"] for check in self._found.values()), "dependencies": self._found}


async def _checked(dependency: Checkable) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(_DEADLINE_S):
            version = await dependency.check()
    except Exception as error:  # noqa: BLE001  (whatever is wrong with it is the answer)
        first = (str(error).splitlines() or [""])[0] or "no answer in time"
        return {"kind": dependency.kind, "ok": False, "error": first}
    took = round(1000 * (loop.time() - began), 2)
    return {"kind": dependency.kind, "ok": True, "version": version, "latency_ms": took}
