"""Errors as HTTP answers: problem details, RFC 9457."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from qmtl.errors import (
    ConflictError,
    DocumentError,
    EndedError,
    NotAllowedError,
    QmtlError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from qmtl.wire.dag import TooLargeError

_JSON = "application/problem+json"


def answer(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    """Return JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def problem(status: int, title: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """Return problem details; what is None stays out."""
    content = {"title": title, "status": status, **{key: value for key, value in more.items() if value is not None}}
    return Response(msgspec.json.encode(content), status, headers, media_type=_JSON)


def of(error: QmtlError) -> Response:
    """Return the answer for an error."""
    more: dict[str, Any] = {"code": error.code, "hint": error.hint}
    headers: dict[str, str] = {}
    if isinstance(error, DocumentError):
        status = 413 if isinstance(error, TooLargeError) else 422
        more["pointer"] = error.pointer
    elif isinstance(error, UnavailableError):
        status = 503
        more["dependency"] = error.dependency
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, NotAllowedError):
        status = error.status
        headers |= {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    elif isinstance(error, RefusedError):
        status = error.status
        more["pointer"] = error.pointer
    else:
        status = (
            409 if isinstance(error, (ConflictError, EndedError)) else 422 if isinstance(error, UsageError) else 500
        )
    return problem(status, error.message, headers=headers, **more)


async def handle(_: Request, error: Exception) -> Response:
    """Answer an error of ours; anything else is a fault of the program and goes on."""
    if not isinstance(error, QmtlError):
        raise error
    return of(error)
