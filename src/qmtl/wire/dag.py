"""Reads DAG documents from outside: strict, bounded, and never more than data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from qmtl.errors import DocumentError
from qmtl.graph.identity import Parts, crc32, node_id
from qmtl.wire.decoding import decoded

VERSION = "qmtl.dag/1"


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input of a node."""

    node_id: str
    key: str | None = None
    field: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """A node of a document."""

    node_id: str
    crc32: int
    node_type: str
    code_hash: str
    config_hash: str
    schema_hash: str
    inputs: list[Edge]
    name: str = ""
    interval: int = 0
    period: int = 1
    tags: list[str] = []
    schema: dict[str, str] | None = None
    pure: bool = True
    query_tags: list[str] | None = None
    match_mode: str | None = None


class _Document(msgspec.Struct, frozen=True):
    version: str
    nodes: list[Entry]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a document.

    Attributes
    ----------
    size : int
        Bytes of JSON.
    nodes, inputs, tags : int
        Nodes in all; inputs and tags of one node.
    text : int
        Characters of a name, type, tag or field.
    """

    size: int = 64 * 2**20
    nodes: int = 100_000
    inputs: int = 10_000
    tags: int = 64
    text: int = 256


@dataclass(frozen=True, slots=True)
class Document:
    """A verified document: nodes in topological order, and the digest of what they compute."""

    nodes: tuple[Entry, ...]
    dag_hash: str = field(repr=False)


class TooLargeError(DocumentError):
    """A document beyond the limits."""

    code = "QM-DOCUMENT-TOO-LARGE"


_decoder = msgspec.json.Decoder(_Document)


def read(raw: bytes, limits: Limits = Limits()) -> Document:
    """Decode and verify a document: version, limits, order, ids from their four parts, checksums.

    Raises
    ------
    DocumentError
        With a JSON pointer to the fault.
    TooLargeError
        More bytes or nodes than the limits allow.

    Examples
    --------
    >>> read(b'{"version": "qmtl.dag/9", "nodes": []}')
    Traceback (most recent call last):
    qmtl.errors.DocumentError: unknown version 'qmtl.dag/9'
      hint: this program reads qmtl.dag/1
    """
    if len(raw) > limits.size:
        raise TooLargeError(f"the document has {len(raw):,} bytes, {limits.size:,} are allowed", pointer="")
    document = decoded(_decoder, raw, "document")
    if document.version != VERSION:
        raise DocumentError(
            f"unknown version {document.version[:40]!r}", pointer="/version", hint=f"this program reads {VERSION}"
        )
    if not document.nodes:
        raise DocumentError("there are no nodes", pointer="/nodes")
    if len(document.nodes) > limits.nodes:
        raise TooLargeError(f"{len(document.nodes):,} nodes, {limits.nodes:,} are allowed", pointer="/nodes")
    seen: set[str] = set()
    for index, entry in enumerate(document.nodes):
        _verify(entry, f"/nodes/{index}", seen, limits)
        seen.add(entry.node_id)
    return Document(tuple(document.nodes), dag_hash(seen))


def dag_hash(node_ids: set[str]) -> str:
    """Return the digest of a set of nodes, 64 hex characters: equal graphs are equal whatever their order and names."""
    return hashlib.sha256("\n".join(sorted(node_ids)).encode()).hexdigest()


def _verify(entry: Entry, pointer: str, seen: set[str], limits: Limits) -> None:
    _bounded(entry, pointer, limits)
    parts = Parts(entry.node_type, entry.code_hash, entry.config_hash, entry.schema_hash)
    if entry.node_id != node_id(parts):
        raise DocumentError(
            "the id is not the digest of the four parts",
            pointer=f"{pointer}/node_id",
            hint="submit with the SDK of this version",
        )
    if entry.crc32 != crc32(entry.node_id):
        raise DocumentError("the checksum does not match the id", pointer=f"{pointer}/crc32")
    if entry.node_id in seen:
        raise DocumentError("the node is there twice", pointer=pointer)
    for k, edge in enumerate(entry.inputs):
        if edge.node_id not in seen:
            raise DocumentError(
                "the input is unknown, or comes after its reader",
                pointer=f"{pointer}/inputs/{k}",
                hint="list nodes in topological order",
            )


_TEXTS = ("node_id", "node_type", "code_hash", "config_hash", "schema_hash", "name")
_texts = attrgetter(*_TEXTS)


def _bounded(entry: Entry, pointer: str, limits: Limits) -> None:
    texts = _texts(entry)
    if max(map(len, texts)) > limits.text or not "".join(texts).isprintable():
        name = next(n for n, text in zip(_TEXTS, texts, strict=True) if not _short(text, limits))
        message = f"{name} is longer than {limits.text} characters, or not printable"
        raise DocumentError(message, pointer=f"{pointer}/{name}")
    if not 0 <= entry.interval < 2**40 or not 0 <= entry.period < 2**40:
        raise DocumentError("interval or period is out of range", pointer=pointer)
    if len(entry.inputs) > limits.inputs:
        raise DocumentError(f"more than {limits.inputs:,} inputs", pointer=f"{pointer}/inputs")
    _bounded_all(entry.tags, limits.tags, f"{pointer}/tags", limits)
    _bounded_all(entry.query_tags or (), limits.tags, f"{pointer}/query_tags", limits)
    _bounded_all(entry.schema or (), limits.inputs, f"{pointer}/schema", limits)


def _bounded_all(texts: Collection[str], most: int, pointer: str, limits: Limits) -> None:
    if len(texts) > most or not all(_short(text, limits) for text in texts):
        raise DocumentError("too many texts, or one is too long or not printable", pointer=pointer)


def _short(text: str, limits: Limits) -> bool:
    return len(text) <= limits.text and text.isprintable()
