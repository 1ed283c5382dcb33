"""Reads bodies of requests, bounded."""

from __future__ import annotations

from starlette.requests import Request

from qmtl.errors import RefusedError
from qmtl.wire.dag import TooLargeError


async def read_json(request: Request, bound: int, *, kinds: tuple[str, ...] = ("application/json",)) -> bytes:
    """Return the body of a request, without decoding it.

    Raises
    ------
    RefusedError
        415: another content type.
    TooLargeError
        More bytes than the bound, whatever the header says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise RefusedError(f"content type {kind[:60]!r} is not spoken here", status=415, hint=f"send {kinds[0]}")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bound:
        raise TooLargeError(f"more than {bound:,} bytes", pointer="")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > bound:
            raise TooLargeError(f"more than {bound:,} bytes", pointer="")
        pieces.append(piece)
    return b"".join(pieces)
