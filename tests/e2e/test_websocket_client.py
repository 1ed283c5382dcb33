"""The SDK's WebSocket client against a Gateway that is killed and comes back."""

from __future__ import annotations

import asyncio

import pytest

from qmtl.errors import NotAllowedError, UnreachableError, UsageError
from qmtl.sdk import WebSocketClient
from qmtl.wire.client import GatewayClient
from qmtl.wire.events import QUEUE_MAP
from stack.documents import chain
from stack.programs import Program
from stack.waiting import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def up(tmp_path):
    with Program("up", ["up", "--port", "{port}", "--data", str(tmp_path / "data"), "--no-auth"]) as program:
        yield program


def submit(up, *names):
    return GatewayClient(up.url, "").submit(chain(*names), "dryrun", {})


def heard_by(up, count):
    """Wait until so many listen."""
    wait_until(lambda: GatewayClient(up.url, "").status()["listeners"] == count, 10.0)


class Listening:
    """A client that keeps what it hears."""

    def __init__(self, up, **more):
        self.up, self.client = up, WebSocketClient(up.url, token="", **more)
        self.heard = []
        self.stirred = asyncio.Event()

    async def __aenter__(self):
        self.task = asyncio.create_task(self._listen())
        await asyncio.to_thread(heard_by, self.up, 1)
        return self

    async def _listen(self):
        async for event in self.client.events():
            self.heard.append(event)
            self.stirred.set()

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                assert not self.task.done() or self.task.result()
                await self.stirred.wait()
                self.stirred.clear()

    async def __aexit__(self, *_):
        await self.client.close()
        async with asyncio.timeout(5):
            await self.task

    @property
    def maps(self):
        return [one.subject for one in self.heard if one.type == QUEUE_MAP]


async def test_a_gateway_that_is_killed_loses_no_event_and_doubles_none(up):
    async with Listening(up) as listening:
        made = [(await asyncio.to_thread(submit, up, "a")).strategy_id]
        await listening.until(lambda: listening.maps == made)
        for names in (("b",), ("c",)):
            await asyncio.to_thread(up.kill9)
            await asyncio.to_thread(up.start)
            made.append((await asyncio.to_thread(submit, up, *names)).strategy_id)  # perhaps before it is back
        await listening.until(lambda: listening.maps == made)
        ids = [one.id for one in listening.heard]
        assert len(ids) == len(set(ids))


async def test_another_client_goes_on_where_one_ended(up):
    async with Listening(up) as first:
        one = await asyncio.to_thread(submit, up, "a")
        await first.until(lambda: first.maps == [one.strategy_id])
    two = await asyncio.to_thread(submit, up, "b")
    async with Listening(up, last_event_id=first.client.last_event_id) as second:
        await second.until(lambda: second.maps == [two.strategy_id])


async def test_events_of_one_strategy_go_to_a_callback(up):
    one, two = await asyncio.to_thread(submit, up, "a"), await asyncio.to_thread(submit, up, "b")
    heard, done = [], asyncio.Event()

    async def take(event):
        heard.append(event.subject)
        if event.data.get("to") == "stopped":
            done.set()

    client = WebSocketClient(up.url, token="", strategy_id=two.strategy_id, on_message=take)
    running = asyncio.create_task(client.run())
    await asyncio.to_thread(heard_by, up, 1)
    for strategy_id in (one.strategy_id, two.strategy_id):
        await asyncio.to_thread(GatewayClient(up.url, "").stop, strategy_id)
    async with asyncio.timeout(20):
        await done.wait()
        await client.close()
        await running
    assert set(heard) <= {two.strategy_id, ""}


async def test_who_may_not_listen_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("QMTL_SECRET", "s" * 64)
    arguments = ["up", "--port", "{port}", "--data", str(tmp_path / "data")]
    with Program("up", arguments) as up, pytest.raises(NotAllowedError):
        await anext(WebSocketClient(up.url, token="wrong").events())


async def test_nobody_there_is_told_at_once():
    with pytest.raises(UnreachableError, match="qmtl up"):
        await anext(WebSocketClient("http://127.0.0.1:9", token="").events())
    with pytest.raises(UsageError):
        WebSocketClient("ftp://here")
