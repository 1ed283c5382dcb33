"""Bytes by name, for archives."""

from __future__ import annotations

from abc import abstractmethod

from qmtl.ports.dependency import Dependency


class BlobStore(Dependency):
    """Keeps blobs. Promises: a blob is there whole or not at all; writing it again replaces it."""

    role = "archive"

    @abstractmethod
    async def put(self, name: str, content: bytes) -> None:
        """Store a blob; ``/`` in a name makes folders."""

    @abstractmethod
    async def get(self, name: str) -> bytes | None:
        """Return a blob, or None."""
