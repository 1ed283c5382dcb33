"""A proxy in a thread of its own that can cut off single processes: their connections fall silent. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

from stack.process import HOST
from stack.proxy import FaultProxy


class Cut(FaultProxy):
    """Everybody goes through it; ``cut(pid)`` holds back what one process says and hears, until ``heal(pid)``."""

    def __init__(self, port: int) -> None:
        super().__init__(HOST, 0, port=port)
        self._held: dict[int, asyncio.Event] = {}
        self._pids: set[int] = set()
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="cut", daemon=True)

    def start(self, target_port: int) -> None:
        """Let connections through to a server."""
        self.target = (HOST, target_port)
        self._thread.start()
        assert self._ready.wait(5.0)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self:
            self._ready.set()
            await self._done.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(5.0)

    def cut(self, pid: int) -> None:
        """Silence a process, also what it connects to later."""
        self._pids.add(pid)
        for port in ports_of(pid) & self._held.keys():
            self._loop.call_soon_threadsafe(self._held[port].clear)

    def heal(self, pid: int) -> None:
        """Let everything through that was held back."""
        self._pids.discard(pid)
        for passing in [*self._held.values()]:
            self._loop.call_soon_threadsafe(passing.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port, passing = writer.get_extra_info("peername")[1], asyncio.Event()
        if not any(port in ports_of(pid) for pid in tuple(self._pids)):  # another thread changes them
            passing.set()
        self._held[port] = passing
        try:
            await passing.wait()
            there = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            del self._held[port]
            return
        pair = {writer, there[1]}
        self._writers |= pair
        try:
            await asyncio.gather(self._pass(reader, there[1], passing), self._pass(there[0], writer, passing))
        except asyncio.CancelledError:
            pass  # the end; streams of 3.11 would log it as an error
        finally:
            self._writers -= pair
            self._held.pop(port, None)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event) -> None:
        try:
            while data := await reader.read(65536):
                await passing.wait()
                writer.write(data)
                await writer.drain()
            await passing.wait()
        except OSError:
            pass
        finally:
            writer.close()


def ports_of(pid: int) -> set[int]:
    """Return the local ports of a process."""
    sockets = set()
    for name in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            sockets.add(str(name.readlink()))
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in sockets:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
