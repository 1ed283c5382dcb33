"""Errors over gRPC: a status, and the error itself in the trailing metadata."""

from __future__ import annotations

from typing import Any

import grpc
import msgspec

from qmtl.errors import (
    ConflictError,
    DocumentError,
    EndedError,
    NotAllowedError,
    QmtlError,
    RefusedError,
    ServiceError,
    UnavailableError,
    UsageError,
)
from qmtl.wire.dag import TooLargeError

KEY = "qmtl-error-bin"
_FIELDS = ("pointer", "dependency", "retry_after_s", "status")
_TEXT = 1000

_STATUS: tuple[tuple[type[QmtlError], grpc.StatusCode], ...] = (
    (TooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DocumentError, grpc.StatusCode.INVALID_ARGUMENT),
    (UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (RefusedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (EndedError, grpc.StatusCode.FAILED_PRECONDITION),
    (ConflictError, grpc.StatusCode.ABORTED),
)
_KINDS: dict[str, type[QmtlError]] = {
    kind.code: kind
    for kind in (
        TooLargeError,
        DocumentError,
        UsageError,
        UnavailableError,
        RefusedError,
        EndedError,
        ConflictError,
        NotAllowedError,
    )
}


def status_of(error: QmtlError) -> grpc.StatusCode:
    """Return the status for an error."""
    if isinstance(error, NotAllowedError):
        return grpc.StatusCode.PERMISSION_DENIED if error.status == 403 else grpc.StatusCode.UNAUTHENTICATED
    return next((status for kind, status in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def packed(error: QmtlError) -> tuple[tuple[str, bytes], ...]:
    """Return an error as trailing metadata."""
    fields = {name: getattr(error, name) for name in _FIELDS if hasattr(error, name)}
    hint = error.hint and error.hint[:_TEXT]
    content = {"code": error.code, "message": error.message[:_TEXT], "hint": hint, **fields}
    return ((KEY, msgspec.json.encode(content)),)


def unpacked(error: grpc.aio.AioRpcError, target: str) -> QmtlError:
    """Return the error that the other side packed, or one that says what happened to the call."""
    raw = dict(error.trailing_metadata() or ()).get(KEY)
    if isinstance(raw, bytes):
        return _rebuilt(msgspec.json.decode(raw, type=dict[str, Any]))
    # A process that dies in the middle of a call ends it with one of many statuses: the call may be repeated.
    return UnavailableError(f"{target}: {error.details() or error.code().name}", dependency="dagmanager")


def _rebuilt(content: dict[str, Any]) -> QmtlError:
    code, message = content.pop("code", ""), str(content.pop("message", ""))
    kind = _KINDS.get(code, ServiceError)
    wanted = {name: value for name, value in content.items() if value is not None or name == "pointer"}
    try:
        return kind(message, **wanted)
    except TypeError:  # a field that this version does not know
        return ServiceError(message, hint=content.get("hint"))
