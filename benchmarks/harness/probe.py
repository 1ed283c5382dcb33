"""Bare append-and-read between two processes: what a log of records costs without anything around it."""

from __future__ import annotations

import asyncio
import multiprocessing
import struct
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection

from qmtl.backends import connect
from qmtl.ports.broker import TopicSpec
from qmtl.ports.record_log import RecordLog
from qmtl.wire.records import Batch

_DAY_MS = 86_400_000
_LIMIT = 1000
_PATIENCE_S = 60.0


def latency(url: str, count: int, rate: float) -> list[float]:
    """Return milliseconds from the start of an append to the reader in another process, for batches of one record."""
    return asyncio.run(_paced(url, count, rate))


def throughput(url: str, records: int, size: int, at_once: int) -> float:
    """Return records a second from the first append to the last record at the reader: ``at_once`` batches of a size."""
    return asyncio.run(_rushed(url, records, size, at_once))


async def _paced(url: str, count: int, rate: float) -> list[float]:
    async with _topic(url) as (topic, log):
        with _reader(url, topic, count) as reader:
            began = time.monotonic()
            for k in range(count):
                await asyncio.sleep(began + k / rate - time.monotonic())
                await log.append([(topic, _batch(k, 1))])
            return [1000.0 * taken for taken in await asyncio.to_thread(_answer, reader)]


async def _rushed(url: str, records: int, size: int, at_once: int) -> float:
    count = records // (size * at_once) * at_once
    async with _topic(url) as (topic, log):
        with _reader(url, topic, count) as reader:
            began = time.monotonic()
            for k in range(0, count, at_once):
                await log.append([(topic, _batch((k + i) * size, size)) for i in range(at_once)])
            await asyncio.to_thread(_answer, reader)
            return count * size / (time.monotonic() - began)


@asynccontextmanager
async def _topic(url: str) -> AsyncIterator[tuple[str, RecordLog]]:
    """A topic of its own with one record, so that everybody is connected, and a log to append to it."""
    topic = f"probe_{uuid.uuid4().hex}"
    broker, log = await connect.open_broker(url), await connect.open_log(url)
    await broker.create([TopicSpec(topic, 1, 1, _DAY_MS)])
    while not await broker.exist([topic]):  # noqa: ASYNC110  (another process makes it)
        await asyncio.sleep(0.02)
    await log.append([(topic, _batch(-1, 1))])
    yield topic, log
    await broker.delete([topic])
    await log.close()
    await broker.close()


def _batch(first: int, size: int) -> Batch:
    """A batch of minutes whose values are the time now."""
    buckets = struct.pack(f"<{size}q", *range(60 * first, 60 * (first + size), 60))
    return Batch("probe", 1, 60 * (first + size), ("value",), 1, buckets, struct.pack("<d", time.monotonic()) * size)


@contextmanager
def _reader(url: str, topic: str, count: int) -> Iterator[Connection]:
    """A process that reads so many batches and then sends how long each was on its way."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(url, topic, count, theirs), daemon=True)
    process.start()
    assert _answer(ours) == "ready"
    yield ours
    process.join(_PATIENCE_S)


def _answer(reader: Connection) -> object:
    if not reader.poll(_PATIENCE_S):
        raise TimeoutError(f"the reader said nothing for {_PATIENCE_S:.0f} s")
    return reader.recv()


def _run(url: str, topic: str, count: int, told: Connection) -> None:
    told.send(asyncio.run(_read(url, topic, count, told)))


async def _read(url: str, topic: str, count: int, told: Connection) -> list[float]:
    log, position, taken = await connect.open_log(url), 0, []
    while len(taken) <= count:
        came = (await log.read({topic: position}, _LIMIT, 1.0)).get(topic, [])
        now = time.monotonic()
        if came and not taken:
            told.send("ready")
        taken += [now - struct.unpack_from("<d", entry.batch.values)[0] for entry in came]
        position = came[-1].next if came else position
    await log.close()
    return taken[1:]
