"""Decodes JSON from outside: whatever is wrong with it is an error with a JSON pointer."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from qmtl.errors import DocumentError

T = TypeVar("T")

_PLACE = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")


def decoded(decoder: msgspec.json.Decoder[T], raw: bytes, what: str) -> T:
    """Decode JSON.

    Raises
    ------
    DocumentError
        It is no JSON, nested too deeply, or of another form; the pointer says where.

    Examples
    --------
    >>> try:
    ...     decoded(msgspec.json.Decoder(dict[str, list[int]]), b'{"a": [1, "x"]}', "body")
    ... except DocumentError as error:
    ...     error.pointer
    '/*/1'
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        raise DocumentError(text, pointer=_pointer(place.rstrip("`"))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"this is not JSON: {error}", pointer="") from None
    except RecursionError:
        raise DocumentError(f"the {what} is nested too deeply", pointer="") from None


def _pointer(place: str) -> str:
    """Turn msgspec's ``.nodes[3].crc32`` into ``/nodes/3/crc32``."""
    return "".join(f"/{name or index.replace('...', '*')}" for name, index in _PLACE.findall(place))
