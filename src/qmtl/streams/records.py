"""Bars in the records of somebody else: where to look, and how to read one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from qmtl.errors import UsageError, unknown_name

_FIELDS = ("open", "high", "low", "close", "volume")
_OPTIONS = ("closed", "fields", "format", "grace", "partition", "repair", "ts", "unit", *_FIELDS)
_DIVISORS = {"s": 1, "ms": 1000, "us": 1_000_000}
_JSON, _MSGPACK = msgspec.json.Decoder(), msgspec.msgpack.Decoder()


class UnreadableError(Exception):
    """A record that is no bar."""


@dataclass(frozen=True)
class Layout:
    """What a record looks like.

    Attributes
    ----------
    keys : mapping of field to key
        What the record calls each field; ``ts`` is the start of the bucket.
    closed : bool or str
        Whether every record is final, or the key that says so.
    unit : {"s", "ms", "us"}
        Of ``ts``.
    format : {"json", "msgpack"}
    """

    keys: Mapping[str, str]
    closed: bool | str = False
    unit: str = "s"
    format: str = "json"

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the values, in order."""
        return tuple(name for name in self.keys if name != "ts")

    def read(self, raw: bytes | None) -> tuple[float, tuple[float, ...], bool]:
        """Return bucket, values and whether the bar is final.

        Raises
        ------
        UnreadableError
            Says why.

        Examples
        --------
        >>> Layout({"ts": "t", "close": "c"}, closed="x").read(b'{"t": 60, "c": "1.5", "x": true}')
        (60.0, (1.5,), True)
        """
        try:
            record = (_JSON if self.format == "json" else _MSGPACK).decode(raw or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UnreadableError(f"not {self.format}") from None
        if not isinstance(record, dict):
            raise UnreadableError("not an object")
        values = tuple(_number(record, self.keys[name]) for name in self.fields)
        closed = self.closed if isinstance(self.closed, bool) else record.get(self.closed) is True
        return _number(record, self.keys["ts"]) / _DIVISORS[self.unit], values, closed


def _number(record: dict[str, Any], key: str) -> float:
    value = record.get(key)
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise UnreadableError(f"{key!r} is not a number" if key in record else f"no {key!r}")


@dataclass(frozen=True)
class Topic:
    """A topic with bars, as its URL says.

    Attributes
    ----------
    servers, name : str
    partition : int or None
        None where the topic has only one.
    layout : Layout
    grace_s : float or None
        How long after its end a bar may come, seconds; None for ever: time seals nothing.
    repairs : bool
        Late bars are better ones.
    client : mapping
        Options of librdkafka.
    """

    servers: str
    name: str
    layout: Layout
    partition: int | None = None
    grace_s: float | None = 2.0
    repairs: bool = False
    client: Mapping[str, str] | None = None


def parse_topic(url: str) -> Topic:
    """Return what a URL says: ``kafka://host:9092/topic?closed=true&grace=2&unit=ms&ts=open_time&close=c``.

    An option with a dot is one of librdkafka.

    Raises
    ------
    UsageError
        A value that makes no sense.
    UnknownNameError
        No such option.

    Examples
    --------
    >>> made = parse_topic("kafka://host:9092/bars?fields=close&close=c&grace=never")
    >>> made.servers, made.name, made.layout.keys, made.grace_s
    ('host:9092', 'bars', {'ts': 'ts', 'close': 'c'}, None)
    """
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    client = {name: given.pop(name) for name in [*given] if "." in name}
    for name in given:
        if name not in _OPTIONS:
            raise unknown_name(f"option of {parts.scheme}://{parts.netloc}{parts.path}", name, _OPTIONS)
    name = parts.path.strip("/")
    if not parts.netloc or not name or "/" in name:
        raise UsageError(f"{url!r} names no topic", hint="kafka://host:9092/topic")
    fields = given.get("fields", ",".join(_FIELDS)).split(",")
    layout = Layout(
        keys={field: given.get(field, field) for field in ("ts", *fields)},
        closed={"true": True, "false": False}.get(said := given.get("closed", "false"), said),
        unit=_one_of(given, "unit", [*_DIVISORS]),
        format=_one_of(given, "format", ["json", "msgpack"]),
    )
    partition = _count(given, "partition", "0") if "partition" in given else None
    grace = None if given.get("grace") == "never" else float(_count(given, "grace", "2"))
    return Topic(parts.netloc, name, layout, partition, grace, _one_of(given, "repair", ["0", "1"]) == "1", client)


def _one_of(given: Mapping[str, str], name: str, known: list[str]) -> str:
    value = given.get(name, known[0])
    if value not in known:
        raise unknown_name(name, value, known)
    return value


def _count(given: Mapping[str, str], name: str, default: str) -> int:
    value = given.get(name, default)
    if not value.isdecimal():
        raise UsageError(f"{name}={value} makes no sense", hint=f"{name}= takes a whole number")
    return int(value)
