"""Node identity: the digest of the canonical form of a node's four parts."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from qmtl.graph.canonical import canonical

#: Version of the canonical form; part of every digest, so that a change of form never aliases.
FORM = "qmtl.id/1"


def digest(*texts: str) -> str:
    """Return the sha256 of texts, each framed by its length, as 64 hex characters.

    Examples
    --------
    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    framed = b"".join(len(raw).to_bytes(8, "big") + raw for raw in (text.encode() for text in (FORM, *texts)))
    return hashlib.sha256(framed).hexdigest()


class Parts(NamedTuple):
    """The four parts of a node's identity; each hash is 64 hex characters."""

    node_type: str
    code_hash: str
    config_hash: str
    schema_hash: str

    @classmethod
    def of(cls, node_type: str, code_hash: str, config: Mapping[str, Any], schema: Mapping[str, str] | None) -> Parts:
        """Hash configuration and schema."""
        return cls(node_type, code_hash, digest(canonical(dict(config))), digest(canonical(schema and dict(schema))))

    def canonical(self) -> bytes:
        """Bytes that the id is the digest of."""
        return f"{FORM}\n{self.node_type}\n{self.code_hash}\n{self.config_hash}\n{self.schema_hash}".encode()


def node_id(parts: Parts) -> str:
    """Return the content address of a node: 64 hex characters.

    Examples
    --------
    >>> len(node_id(Parts("sma", "a" * 64, "b" * 64, "c" * 64)))
    64
    """
    return hashlib.sha256(parts.canonical()).hexdigest()


def collision_id(parts: Parts) -> str:
    """Return the id to use when another content already has :func:`node_id`."""
    return "sha3:" + hashlib.sha3_256(parts.canonical()).hexdigest()


def crc32(identifier: str) -> int:
    """Return the checksum that travels beside an id."""
    return zlib.crc32(identifier.encode())
