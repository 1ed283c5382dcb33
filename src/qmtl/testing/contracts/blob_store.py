"""The promises of :class:`qmtl.ports.blob_store.BlobStore`."""

from __future__ import annotations

import pytest

from qmtl.errors import UsageError
from qmtl.ports.blob_store import BlobStore


class BlobStoreContract:
    """Checks an archive."""

    async def test_what_is_put_is_got(self, part: BlobStore) -> None:
        await part.put("folder/a.json", b"\x00content")
        assert await part.get("folder/a.json") == b"\x00content"
        await part.put("folder/a.json", b"")
        assert await part.get("folder/a.json") == b""

    async def test_what_is_not_there_is_none(self, part: BlobStore) -> None:
        assert await part.get("nothing") is None

    @pytest.mark.parametrize("name", ["../outside", "/absolute", ""])
    async def test_names_stay_inside(self, part: BlobStore, name: str) -> None:
        with pytest.raises(UsageError):
            await part.put(name, b"x")
