"""The Gateway as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from qmtl.errors import QmtlError
from qmtl.gateway import callbacks, listings, sessions, strategies
from qmtl.gateway.state import Gateway
from qmtl.wire import problems


def application(gateway: Gateway) -> FastAPI:
    """Return the ASGI application; the loops of the Gateway run while it is up."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gateway.loops = asyncio.create_task(gateway.run())
        try:
            yield
        finally:
            gateway.loops.cancel()
            await asyncio.gather(gateway.loops, return_exceptions=True)

    app = FastAPI(title="QMTL Gateway", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.gateway = gateway
    app.add_exception_handler(QmtlError, problems.handle)
    for routes in (strategies, sessions, listings, callbacks):
        app.include_router(routes.router)
    return app
