"""Blobs in a folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath

from qmtl.errors import UnavailableError, UsageError
from qmtl.ports.blob_store import BlobStore


class FolderBlobs(BlobStore):
    """A file a blob, written beside its place and then moved there."""

    kind = "folder"

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)

    async def check(self) -> str:
        await self.put("check", b"")
        return str(self._folder)

    async def close(self) -> None:
        """There is nothing to give back."""

    async def put(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(self._put, self._place(name), content)

    def _put(self, place: Path, content: bytes) -> None:
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(place)
        except OSError as error:
            message = f"cannot write {place}: {error.strerror or error}"
            raise UnavailableError(message, dependency=self.role, hint="check space and rights") from error

    async def get(self, name: str) -> bytes | None:
        place = self._place(name)
        return await asyncio.to_thread(lambda: place.read_bytes() if place.is_file() else None)

    def _place(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or any(part in {"..", "/"} for part in parts):
            raise UsageError(f"{name!r} is no name of a blob", hint="relative, without ..")
        return self._folder.joinpath(*parts)
