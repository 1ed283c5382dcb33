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


def latency(url: str, count: int, rate: float, topics: int = 1) -> list[float]:
    """Return milliseconds to the reader in another process, for batches of one record in each of so many topics.

    They count from the start of its append; where that is late, since one before was slow, from the moment at which it
    was due, as a bar of a feed does. With several topics, the last one counts.
    """
    return asyncio.run(_paced(url, count, rate, topics))


def throughput(url: str, records: int, size: int, at_once: int) -> float:
    """Return records a second from the first append to the last record at the reader: ``at_once`` batches of a size."""
    return asyncio.run(_rushed(url, records, size, at_once))


async def _paced(url: str, count: int, rate: float, topics: int) -> list[float]:
    async with _topics(url, topics) as (names, log):
        with _reader(url, names, count) as reader:
            began = time.monotonic()
            for k in range(count):
                due = began + k / rate
                is_late = time.monotonic() > due
                await asyncio.sleep(due - time.monotonic())
                at = due if is_late else time.monotonic()  # the waking of this loop is nobody's concern
                await log.append([(name, _batch(k, 1, at)) for name in names])
            return [1000.0 * taken for taken in await asyncio.to_thread(_answer, reader)]


async def _rushed(url: str, records: int, size: int, at_once: int) -> float:
    count = records // (size * at_once) * at_once
    async with _topics(url, 1) as (names, log):
        with _reader(url, names, count) as reader:
            began = time.monotonic()
            for k in range(0, count, at_once):
                await log.append([(names[0], _batch((k + i) * size, size, began)) for i in range(at_once)])
            await asyncio.to_thread(_answer, reader)
            return count * size / (time.monotonic() - began)


@asynccontextmanager
async def _topics(url: str, count: int) -> AsyncIterator[tuple[list[str], RecordLog]]:
    """Topics of its own with one record each, so that everybody is connected, and a log to append to them."""
    names = [f"probe_{uuid.uuid4().hex}" for _ in range(count)]
    broker, log = await connect.open_broker(url), await connect.open_log(url)
    await broker.create([TopicSpec(name, 1, 1, _DAY_MS) for name in names])
    while len(await broker.exist(names)) < count:  # noqa: ASYNC110  (another process makes it)
        await asyncio.sleep(0.02)
    await log.append([(name, _batch(-1, 1, time.monotonic())) for name in names])
    yield names, log
    await broker.delete(names)
    await log.close()
    await broker.close()


def _batch(first: int, size: int, at: float) -> Batch:
    """A batch of minutes whose values are a moment."""
    buckets = struct.pack(f"<{size}q", *range(60 * first, 60 * (first + size), 60))
    return Batch("probe", 1, 60 * (first + size), ("value",), 1, buckets, struct.pack("<d", at) * size)


@contextmanager
def _reader(url: str, topics: list[str], count: int) -> Iterator[Connection]:
    """A process that reads so many batches and then sends how long each was on its way."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(url, topics, count, theirs), daemon=True)
    process.start()
    assert _answer(ours) == "ready"
    yield ours
    process.join(_PATIENCE_S)


def _answer(reader: Connection) -> object:
    if not reader.poll(_PATIENCE_S):
        raise TimeoutError(f"the reader said nothing for {_PATIENCE_S:.0f} s")
    return reader.recv()


def _run(url: str, topics: list[str], count: int, told: Connection) -> None:
    told.send(asyncio.run(_read(url, topics, count, told)))


async def _read(url: str, topics: list[str], count: int, told: Connection) -> list[float]:
    log, positions = await connect.open_log(url), dict.fromkeys(topics, 0)
    while not all(positions.values()):
        await _more(log, positions)
    told.send("ready")
    left, taken = count * len(topics), {}
    while left > 0:
        came = await _more(log, positions)
        now = time.monotonic()
        taken |= {batch.watermark: now - struct.unpack_from("<d", batch.values)[0] for batch in came}
        left -= len(came)
    await log.close()
    return [*taken.values()]


async def _more(log: RecordLog, positions: dict[str, int]) -> list[Batch]:
    came = await log.read(positions, _LIMIT, 1.0)
    positions |= {topic: entries[-1].next for topic, entries in came.items()}
    return [entry.batch for entries in came.values() for entry in entries]
