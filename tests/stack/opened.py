"""Parts that are closed again whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from qmtl.ports.dependency import Dependency

D = TypeVar("D", bound=Dependency)


@asynccontextmanager
async def closed(opening: Awaitable[D]) -> AsyncIterator[D]:
    """Give what is opened, and close it afterwards."""
    part = await opening
    try:
        yield part
    finally:
        await part.close()
