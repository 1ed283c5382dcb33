"""Topics of Kafka: ``kafka://host:9092,other:9092?security.protocol=SASL_SSL``, with the options of librdkafka."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from qmtl.backends.topic_names import folded, refusal
from qmtl.errors import UnavailableError
from qmtl.ports.broker import Broker, TopicInfo, TopicSpec
from qmtl.telemetry.logs import logger

_ANSWER_S = 5.0
_GONE_S = 10.0
_POLL_S = 0.05
_ELECTIONS = 20
#: A metadata request that takes this long means that the broker is busy to the brim, in seconds.
_BRIM_S = 1.0
_EXISTS = "TOPIC_ALREADY_EXISTS"
_UNKNOWN = "UNKNOWN_TOPIC_OR_PART"
#: Right after a creation not everybody knows the leader.
_PASSING = {"NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", _UNKNOWN}

#: Of one message, in bytes: what topics are made for, and producers may send.
LARGEST = 16 * 2**20

_log = logger("kafka")


def settings(url: str) -> dict[str, str | int | float | bool]:
    """Return the options of librdkafka that a URL gives, on top of ours."""
    parts = urlsplit(url)
    return {
        "bootstrap.servers": parts.netloc,
        "client.id": "qmtl",
        "socket.timeout.ms": int(_ANSWER_S * 1000),
        "reconnect.backoff.max.ms": 1000,
        **dict(parse_qsl(parts.query)),
    }


class KafkaBroker(Broker):
    """The admin client, with deadlines."""

    kind = "kafka"

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._warned = False

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open by URL; whether somebody answers shows with the first call."""
        return cls(AdminClient(settings(url), logger=logging.getLogger("qmtl.kafka")))

    async def check(self) -> str:
        metadata = await self._metadata()
        return f"{len(metadata.brokers)} brokers"

    async def close(self) -> None:
        """The client ends with its last reference."""

    async def create(self, topics: Sequence[TopicSpec]) -> dict[str, str]:
        metadata = await self._metadata()
        there = {folded(name): name for name in metadata.topics}
        refused: dict[str, str] = {}
        wanted = []
        for topic in topics:
            clash = there.get(folded(topic.name), topic.name)
            why = refusal(topic.name) or (f"it clashes with topic {clash}" if clash != topic.name else None)
            if why:
                refused[topic.name] = why
            elif topic.name not in metadata.topics:
                wanted.append(self._new(topic, len(metadata.brokers)))
        if wanted:
            asked = self._admin.create_topics(wanted, operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S)
            refused |= await self._refusals(asked, harmless=_EXISTS)
        return refused

    def _new(self, topic: TopicSpec, brokers: int) -> NewTopic:
        if topic.replication > brokers and not self._warned:
            self._warned = True
            _log.warning("replication is capped by the number of brokers", wanted=topic.replication, brokers=brokers)
        return NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=min(topic.replication, max(1, brokers)),
            config={
                "retention.ms": str(topic.retention_ms),
                "cleanup.policy": topic.cleanup,
                "max.message.bytes": str(LARGEST),
            },
        )

    async def keep(self, retention_ms: Mapping[str, int]) -> None:
        now = await self._retention(sorted(await self.exist([*retention_ms])))
        longer = [_kept(name, retention_ms[name]) for name, kept in now.items() if 0 <= kept < retention_ms[name]]
        if longer:
            asked = self._admin.incremental_alter_configs(longer, request_timeout=_ANSWER_S)
            await self._told(asyncio.gather(*map(asyncio.wrap_future, asked.values())))

    async def exist(self, names: Sequence[str]) -> set[str]:
        return {name for name, found in (await self._described(names)).items() if found is not None}

    async def describe(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        described = {name: one for name, one in (await self._described(names)).items() if one is not None}
        retention, records = await asyncio.gather(self._retention([*described]), self._records(described))
        return {
            name: TopicInfo(name, len(one.partitions), len(one.partitions[0].replicas), retention[name], records[name])
            for name, one in described.items()
        }

    async def delete(self, names: Sequence[str]) -> None:
        if not names:
            return
        asked = self._admin.delete_topics(list(names), operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S)
        refused = await self._refusals(asked, harmless=_UNKNOWN)
        ends = time.monotonic() + _GONE_S
        while not refused and (left := await self.exist(names)):
            if time.monotonic() > ends:
                refused = dict.fromkeys(left, "it is still there")
            await asyncio.sleep(_POLL_S)
        for name, why in refused.items():
            raise UnavailableError(f"Kafka: topic {name} could not be deleted: {why}", dependency=self.role)

    async def topics(self) -> list[str]:
        return sorted(name for name in (await self._metadata()).topics if not name.startswith("__"))

    async def load(self) -> float:
        """Return how long a metadata request takes against a second: Kafka tells its clients nothing nearer."""
        began = time.monotonic()
        await self._metadata()
        return min(1.0, (time.monotonic() - began) / _BRIM_S)

    # ------------------------------------------------------------------------------------------

    async def _metadata(self) -> Any:
        return await self._told(asyncio.to_thread(self._admin.list_topics, timeout=_ANSWER_S))

    async def _described(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the description of each topic, None for one that is not there or has no leader yet."""
        if not names:
            return {}
        asked = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_ANSWER_S)
        answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()), return_exceptions=True)
        found: dict[str, Any] = {}
        for name, answer in zip(asked, answers, strict=True):
            if isinstance(answer, KafkaException) and answer.args[0].name() == _UNKNOWN:
                found[name] = None
            elif isinstance(answer, BaseException):
                raise self._error(answer)
            else:
                led = bool(answer.partitions) and all(part.leader is not None for part in answer.partitions)
                found[name] = answer if led else None
        return found

    async def _retention(self, names: Sequence[str]) -> dict[str, int]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked = self._admin.describe_configs(resources, request_timeout=_ANSWER_S) if resources else {}
        answers = await self._told(asyncio.gather(*map(asyncio.wrap_future, asked.values())))
        return {one.name: int(found["retention.ms"].value) for one, found in zip(asked, answers, strict=True)}

    async def _records(self, described: dict[str, Any]) -> dict[str, int]:
        places = [TopicPartition(name, part.id) for name, one in described.items() for part in one.partitions]
        if not places:
            return {}
        first, last = await asyncio.gather(
            self.offsets(places, OffsetSpec.earliest()), self.offsets(places, OffsetSpec.latest())
        )
        return {name: sum(last[place] - first[place] for place in last if place[0] == name) for name in described}

    async def offsets(self, places: Sequence[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        """Return an offset of each (topic, partition), which must be there."""

        async def ask() -> dict[tuple[str, int], int]:
            asked = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=_ANSWER_S)
            answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()))
            return {(place.topic, place.partition): one.offset for place, one in zip(asked, answers, strict=True)}

        for _ in range(_ELECTIONS):
            try:
                return await ask()
            except KafkaException as error:
                if error.args[0].name() not in _PASSING:
                    raise self._error(error) from error
                await asyncio.sleep(_POLL_S)
        found: dict[tuple[str, int], int] = await self._told(ask())
        return found

    async def _refusals(self, asked: dict[str, Any], harmless: str) -> dict[str, str]:
        answers = await asyncio.gather(*map(asyncio.wrap_future, asked.values()), return_exceptions=True)
        refused: dict[str, str] = {}
        for name, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                continue
            fault = answer.args[0] if isinstance(answer, KafkaException) else None
            if fault is None or fault.name().startswith("_"):  # a fault of the client: nobody answered
                raise self._error(answer)
            if fault.name() != harmless:
                refused[name] = fault.str()
        return refused

    async def _told(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except KafkaException as error:
            raise self._error(error) from error

    def _error(self, error: BaseException) -> UnavailableError:
        fault = error.args[0] if isinstance(error, KafkaException) else None
        return UnavailableError(f"Kafka: {fault.str() if fault is not None else error}", dependency=self.role)


def _kept(topic: str, retention_ms: int) -> ConfigResource:
    entry = ConfigEntry("retention.ms", str(retention_ms), incremental_operation=AlterConfigOpType.SET)
    return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
