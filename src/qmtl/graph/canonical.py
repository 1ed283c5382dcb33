"""Canonical text of plain values: equal text if and only if equal value of the same type.

The text reads like a Python literal, so that it can be shown to people, and is written without
``repr`` of a string or an object anywhere: ``repr`` of a string depends on the Unicode tables of the
interpreter, and ``repr`` of an object on its author.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import hashlib
import math
import pathlib
import re
import struct
import sys
import types
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from qmtl.errors import UnhashableCodeError

PLAIN_HINT = (
    "use plain values (numbers, strings, tuples, dataclasses, numpy arrays), pass it through config=, "
    'or pin the identity by hand with version="…"'
)


def canonical(value: object) -> str:
    """Return the canonical text of a plain value.

    Two values have equal text exactly when they have the same type and the same content: ``1``, ``1.0``,
    ``True`` and ``"1"`` all differ, and so do a list and a tuple. The order of a dict or a set does not
    count. Enum members and dataclasses are named by module and class; their methods are not looked at
    (`qmtl.graph.fingerprint.fingerprint` does that).

    Parameters
    ----------
    value : object
        None, a number, string, bytes, container, enum member, dataclass, named tuple, date or time,
        path, pattern, numpy scalar or numpy array, or any nesting of these.

    Raises
    ------
    UnhashableCodeError
        If the value, or something inside it, has no canonical text; the message says where.

    Examples
    --------
    >>> canonical({"b": 1.0, "a": (1, "x")})
    '{"a": (1, "x"), "b": 1.0}'
    """
    try:
        return Writer("value").text(value)
    except RecursionError:
        raise UnhashableCodeError("value: nested too deeply", hint=PLAIN_HINT) from None


def quoted(text: str) -> str:
    """Return a string as an ASCII literal that no other string has, lone surrogates included."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def _integer(value: int) -> str:
    return str(value) if abs(value) < 10**18 else hex(value)  # str() refuses very long integers


def _float(value: float) -> str:
    return repr(value) if not math.isnan(value) else f"nan[{struct.pack('>d', value).hex()}]"


_ATOMS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "None",
    type(Ellipsis): lambda _: "Ellipsis",
    type(NotImplemented): lambda _: "NotImplemented",
    bool: str,
    int: _integer,
    float: _float,
    complex: lambda v: f"complex({_float(v.real)}, {_float(v.imag)})",
    str: quoted,
    bytes: lambda v: f"bytes({v.hex()})",
}


class Writer:
    """Writes canonical text and knows where in the value it is, for the message of a refusal."""

    def __init__(self, root: str) -> None:
        self.path = [root]
        self._open: set[int] = set()

    def text(self, value: object, step: str = "") -> str:
        """Return the text of one value; ``step`` names the way to it from the value around it."""
        atom = _ATOMS.get(type(value))
        if atom is not None:
            return atom(value)
        self.path.append(step)
        result = self.compound(value)
        self.path.pop()
        return result

    def compound(self, value: Any) -> str:
        """Return the text of a value that is not an atom."""
        if id(value) in self._open:
            self.refuse("contains itself")
        self._open.add(id(value))
        result = self.plain(value)
        self._open.discard(id(value))
        return result

    def plain(self, value: Any) -> str:
        """Return the text of a value by its exact type, else by its family."""
        handler = PLAIN.get(type(value))
        if handler is not None:
            return handler(self, value)
        if isinstance(value, enum.Enum):
            return f"{class_name(type(value))}({self.text(value.value, '.value')})"
        if isinstance(value, tuple) and hasattr(type(value), "_fields"):
            return f"{class_name(type(value))}{self.items(value)}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(value)
        return self.numpy(value) or self.refuse(f"a {type(value).__qualname__} has no canonical form")

    def items(self, values: Iterable[object], brackets: str = "()") -> str:
        """Return the texts of the values in their order."""
        inside = ", ".join([self.text(v, f"[{i}]") for i, v in enumerate(values)])
        return f"{brackets[0]}{inside}{brackets[1]}"

    def mapping(self, value: Mapping[Any, Any]) -> str:
        """Return the text of a mapping, its order left out."""
        return "{" + ", ".join(sorted(self.pairs(value))) + "}"

    def pairs(self, value: Mapping[Any, Any]) -> list[str]:
        """Return one text for each entry of a mapping, in its order."""
        return [f"{self.text(k, ' key')}: {self.text(v, _step(k))}" for k, v in value.items()]

    def unordered(self, values: Iterable[object]) -> str:
        """Return the texts of the members of a set, sorted."""
        return ", ".join(sorted(self.text(v, " member") for v in values))

    def tagged(self, tag: str, *values: object) -> str:
        """Return ``tag(…)`` around the texts of the values."""
        return tag + self.items(values)

    def refuse(self, why: str, hint: str = PLAIN_HINT) -> NoReturn:
        """Raise the error that names the place and the remedy."""
        raise UnhashableCodeError(f"{''.join(self.path)}: {why}", hint=hint)

    def _dataclass(self, value: Any) -> str:
        if any(base.__module__ == "builtins" and base is not object for base in type(value).__mro__):
            self.refuse("a dataclass on top of a built-in type has no canonical form")
        names = [f.name for f in dataclasses.fields(value)]
        state = {name: getattr(value, name) for name in names} | getattr(value, "__dict__", {})
        return f"{class_name(type(value))}{Writer.mapping(self, state)}"

    def numpy(self, value: Any) -> str | None:
        """Return the text of a numpy scalar, array or dtype; None for anything else."""
        np = sys.modules.get("numpy")
        if np is None or not isinstance(value, np.generic | np.ndarray | np.dtype):
            return None
        if isinstance(value, np.dtype):
            if value.hasobject or value.names or value.subdtype or value.kind not in "biufcSUmM":
                self.refuse(f"numpy dtype {value} has no canonical form")
            if value.kind in "fc" and value.itemsize > (8 if value.kind == "f" else 16):
                self.refuse(f"numpy dtype {value} differs between machines")
            return f"dtype({quoted(value.str)})"
        dtype = self.text(value.dtype, ".dtype")
        if isinstance(value, np.ndarray):
            if type(value) is not np.ndarray:
                self.refuse(f"a {type(value).__qualname__} (a kind of array) has no canonical form")
            layout = "C" if value.flags.c_contiguous else "F" if value.flags.f_contiguous else "strided"
            digest = hashlib.sha256(value.tobytes("C")).hexdigest()
            return f"ndarray({dtype}, {self.items(value.shape)}, {layout}, {digest})"
        if type(value).__module__ != "numpy":
            self.refuse(f"a {type(value).__qualname__} (a kind of numpy scalar) has no canonical form")
        content = value.tobytes().hex() if value.dtype.kind in "mM" else self.text(value.item())
        return f"numpy({dtype}, {content})"


def _step(key: object) -> str:
    return f"[{key!r}]" if isinstance(key, str | int) else "[…]"


def class_name(cls: type) -> str:
    """Return module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _decimal(w: Writer, v: decimal.Decimal) -> str:
    sign, digits, exponent = v.as_tuple()
    return w.tagged("Decimal", sign, "".join(map(str, digits)), exponent)


def _moment(w: Writer, v: dt.datetime | dt.time) -> str:
    return w.tagged(type(v).__name__, v.replace(tzinfo=None).isoformat(), v.fold, v.tzinfo)


def _zone(w: Writer, v: zoneinfo.ZoneInfo) -> str:
    return w.tagged("ZoneInfo", v.key) if v.key else w.refuse("a time zone read from a file has no name")


def _timezone(w: Writer, v: dt.timezone) -> str:
    return w.tagged("timezone", v.utcoffset(None), v.tzname(None))


def _counted(tag: str) -> Callable[[Writer, Any], str]:
    return lambda w, v: f"{tag}{w.items(v.items())}"


PLAIN: dict[type, Callable[[Writer, Any], str]] = {
    tuple: lambda w, v: w.items(v),
    list: lambda w, v: w.items(v, "[]"),
    dict: lambda w, v: w.mapping(v),
    set: lambda w, v: f"set({w.unordered(v)})",
    frozenset: lambda w, v: f"frozenset({w.unordered(v)})",
    bytearray: lambda _, v: f"bytearray({v.hex()})",
    range: lambda w, v: w.tagged("range", v.start, v.stop, v.step),
    slice: lambda w, v: w.tagged("slice", v.start, v.stop, v.step),
    deque: lambda w, v: w.tagged("deque", list(v), v.maxlen),
    OrderedDict: _counted("OrderedDict"),
    Counter: lambda w, v: f"Counter{w.mapping(v)}",
    defaultdict: lambda w, v: f"defaultdict({w.text(v.default_factory)}, {w.mapping(v)})",
    types.MappingProxyType: lambda w, v: f"mappingproxy{w.mapping(v)}",
    types.SimpleNamespace: lambda w, v: f"namespace{w.mapping(vars(v))}",
    decimal.Decimal: _decimal,
    fractions.Fraction: lambda w, v: w.tagged("Fraction", v.numerator, v.denominator),
    dt.datetime: _moment,
    dt.time: _moment,
    dt.date: lambda w, v: w.tagged("date", v.isoformat()),
    dt.timedelta: lambda w, v: w.tagged("timedelta", v.days, v.seconds, v.microseconds),
    dt.timezone: _timezone,
    zoneinfo.ZoneInfo: _zone,
    uuid.UUID: lambda w, v: w.tagged("UUID", v.hex),
    re.Pattern: lambda w, v: w.tagged("Pattern", v.pattern, v.flags),
    pathlib.PosixPath: lambda w, v: w.tagged("Path", str(v)),
    pathlib.WindowsPath: lambda w, v: w.tagged("WindowsPath", str(v)),
    pathlib.PurePosixPath: lambda w, v: w.tagged("PurePosixPath", str(v)),
    pathlib.PureWindowsPath: lambda w, v: w.tagged("PureWindowsPath", str(v)),
}
#: Exact types whose instances never change: two equal ones are one value.
FIXED = frozenset(PLAIN) - {
    list, dict, set, bytearray, deque, OrderedDict, Counter, defaultdict,
    types.MappingProxyType, types.SimpleNamespace,
}  # fmt: skip
