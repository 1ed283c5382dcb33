"""Reads the body of ``POST /strategies``: JSON, bounded, never more than data."""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
import zlib
from typing import Any

import msgspec

from qmtl.errors import DocumentError, RefusedError
from qmtl.ports.strategy_store import Submission
from qmtl.wire.dag import Limits, TooLargeError, read
from qmtl.wire.decoding import decoded
from qmtl.wire.messages import RUN_TYPES

_META_BOUND = 16_384


class Body(msgspec.Struct, frozen=True):
    """The body: the DAG document itself or its base64, free metadata, and how the strategy is to run."""

    dag_json: msgspec.Raw
    run_type: str
    meta: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Body)
_text = msgspec.json.Decoder(str)


def unpacked(raw: bytes, encoding: str, bound: int) -> bytes:
    """Undo ``Content-Encoding``; a bomb is stopped at the bound."""
    if encoding in {"", "identity"}:
        return raw
    if encoding != "gzip":
        raise RefusedError(f"content encoding {encoding!r} is not spoken here", status=415, hint="gzip, or none")
    unzip = zlib.decompressobj(wbits=31)
    try:
        content = unzip.decompress(raw, bound + 1)
    except zlib.error as error:
        raise DocumentError(f"this is not gzip: {error}", pointer="") from None
    if len(content) > bound:
        raise TooLargeError(f"more than {bound:,} bytes when unpacked", pointer="")
    if not unzip.eof:
        raise DocumentError("the gzip stream ends early", pointer="")
    return content


def submission(
    raw: bytes, *, owner: str, at: float, limits: Limits, trace: dict[str, str], key: str | None
) -> Submission:
    """Check a body and return what to store.

    Raises
    ------
    DocumentError
        The pointer starts with ``/dag_json`` where the document is at fault.
    """
    body = decoded(_decoder, raw, "body")
    if body.run_type not in RUN_TYPES:
        known = ", ".join(sorted(set(RUN_TYPES.values())))
        raise DocumentError(f"unknown run type {body.run_type[:40]!r}", pointer="/run_type", hint=f"one of {known}")
    dag = _dag(bytes(body.dag_json))
    try:
        document = read(dag, limits)
    except TooLargeError as error:
        raise TooLargeError(error.message, pointer=f"/dag_json{error.pointer}") from None
    except DocumentError as error:
        raise DocumentError(error.message, pointer=f"/dag_json{error.pointer}", hint=error.hint) from None
    run_type = RUN_TYPES[body.run_type]
    same = hashlib.sha256(f"{owner}\n{run_type}\n{document.dag_hash}".encode()).hexdigest()
    meta = {**_meta(body.meta), "trace": trace, **({"idempotency_key": key} if key else {})}
    identifier = f"s-{uuid.uuid4().hex}"
    return Submission(identifier, same, owner, run_type, dag, document.dag_hash, meta, at)


def _dag(raw: bytes) -> bytes:
    if not raw.startswith(b'"'):
        return raw
    try:
        return base64.b64decode(_text.decode(raw), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError(f"neither a document nor base64: {error}", pointer="/dag_json") from None


def _meta(meta: dict[str, Any]) -> dict[str, Any]:
    if len(msgspec.json.encode(meta)) > _META_BOUND:
        raise DocumentError(f"more than {_META_BOUND:,} bytes of metadata", pointer="/meta")
    reserved = {"trace", "idempotency_key"} & set(meta)
    if reserved:
        raise DocumentError(f"{min(reserved)} is reserved", pointer=f"/meta/{min(reserved)}")
    return meta
