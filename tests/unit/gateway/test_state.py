"""What one Gateway process holds."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from qmtl.backends.dag_manager import Access, RemoteDagManager
from qmtl.cli import wiring
from qmtl.errors import RefusedError
from qmtl.gateway.parts import Settings
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.auth import Anybody

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(folder, **settings):
    manager = RemoteDagManager("127.0.0.1:9", Access())
    urls = wiring.Urls.in_folder(folder)
    async with wiring.gateway(urls, manager, Anybody(), Metrics(), Settings(**settings)) as gateway:
        yield gateway
    await manager.close()


async def test_an_owner_is_throttled_and_nobody_else(tmp_path):
    async with opened(tmp_path, rate=2) as gateway:
        for _ in range(2):
            await gateway.throttle("alice")
        with pytest.raises(RefusedError) as told:
            await gateway.throttle("alice")
        assert told.value.status == 429
        await gateway.throttle("bob")


async def test_status_names_what_is_down(tmp_path):
    async with opened(tmp_path) as gateway:
        told = await gateway.status()
        assert not told["ok"]
        assert [role for role, one in told["dependencies"].items() if not one["ok"]] == ["dagmanager"]
        assert told["dependencies"]["queue"]["kind"] == "sqlite"
