"""Text of the user's classes, read from the live class, and of objects made from them."""

from __future__ import annotations

import abc
import dataclasses
import enum
import types
from collections.abc import Iterator
from typing import Any

from qmtl.graph import origin
from qmtl.graph.canonical import PLAIN_HINT
from qmtl.graph.origin import STDLIB, USER
from qmtl.graph.walk import Walker

#: Entries of a class that Python or the standard library keeps for itself, or that differ by its version.
_OWN_ENTRIES = frozenset(
    [
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__non_callable_proto_members__",
        "__orig_bases__",
        "__parameters__",
        "__protocol_attrs__",
        "__qualname__",
        "__static_attributes__",
        "__type_params__",
        "__weakref__",
        "_abc_impl",
        "_is_protocol",
        "_is_runtime_protocol",
    ]
)
_GENERATED = frozenset(
    [
        "__init__",
        "__repr__",
        "__eq__",
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__hash__",
        "__setattr__",
        "__delattr__",
        "__replace__",
        "__getstate__",
        "__setstate__",
        "__new__",
        "_make",
        "_replace",
        "_asdict",
        "__getnewargs__",
    ]
)
_BASES: dict[type, Any] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: bytes.__bytes__,
    tuple: lambda v: list(tuple.__iter__(v)),
    list: lambda v: list(list.__iter__(v)),
    dict: lambda v: [(k, dict.__getitem__(v, k)) for k in dict.__iter__(v)],
    set: lambda v: frozenset(set.__iter__(v)),
    frozenset: lambda v: frozenset(frozenset.__iter__(v)),
}
_FIELD = ("name", "init", "repr", "hash", "compare", "kw_only", "default", "default_factory")
_OPTIONS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")


def class_text(w: Walker, cls: type) -> str:
    """Return the text of a class: its bases, its metaclass and everything in it."""
    inside = [w.text(cls.__name__), *(w.text(base, f" base {base.__name__}") for base in cls.__bases__)]
    inside.append(w.text(type(cls), " metaclass"))
    with w.helper(f"{cls.__module__}.{cls.__qualname__}", cls.__name__):
        inside += _members(w, cls) if isinstance(cls, enum.EnumMeta) else ()
        inside += _dataclass(w, cls) if "__dataclass_fields__" in vars(cls) else ()
        inside += _entries(w, cls)
    inside += _registered(w, cls)
    if w.naming:
        inside += [w.tagged("named", cls.__module__, cls.__qualname__), w.items(map(str, vars(cls)))]
    if w.naming or _hints_may_count(cls):
        hints = {k: v if isinstance(v, str) else repr(v) for k, v in vars(cls).get("__annotations__", {}).items()}
        inside.append(f"hints {w.text(hints)}")
    return f"class({', '.join(inside)})"


def instance_text(w: Walker, value: Any) -> str:
    """Return the text of an object of a user class: the class, what it is built on, and its state."""
    cls = type(value)
    if isinstance(value, enum.Enum):
        state = {k: v for k, v in vars(value).items() if k not in _ENUM_STATE}
        return f"{w.text(cls, ' class')}.{w.text(value.value)}{w.text(state, ' state')}"
    inside = [w.text(cls, " class")]
    base = _solid_base(cls)
    if base is not object:
        if issubclass(base, BaseException):
            inside.append(w.text(value.args, ".args"))
        elif base in _BASES:
            inside.append(w.text(_BASES[base](value), " content"))
        else:
            w.refuse(f"a {cls.__qualname__} (a kind of {base.__qualname__}) has no canonical form")
    for name, content in _state(value):
        text = w.text(content, f".{name}")
        w.note(f"state {name}", text)
        inside.append(f"{name}={text}")
    return f"object({', '.join(inside)})"


_ENUM_STATE = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


def _state(value: Any) -> Iterator[tuple[str, Any]]:
    """Return the attributes that an object holds itself, past every property and ``__getattr__``."""
    for cls in type(value).__mro__:
        for name, entry in vars(cls).items():
            if isinstance(entry, types.MemberDescriptorType) and origin.named(cls) is None:
                try:
                    yield name, entry.__get__(value)
                except AttributeError:  # the slot was never filled
                    continue
    try:
        yield from object.__getattribute__(value, "__dict__").items()
    except AttributeError:  # a class of slots has none
        return


def _solid_base(cls: type) -> type:
    """Return the nearest base that is written in C, whose state is not in attributes."""
    for base in cls.__mro__:
        new = vars(base).get("__new__")
        written_in_c = isinstance(new, types.BuiltinFunctionType) and new.__self__ is base
        if (written_in_c or not base.__flags__ & origin.HEAP_TYPE) and base.__name__ != "Generic":
            return base
    return object


def _entries(w: Walker, cls: type) -> Iterator[str]:
    for name, value in sorted(vars(cls).items()):
        if name in _OWN_ENTRIES or isinstance(value, types.GetSetDescriptorType) or _is_made(cls, name, value):
            continue
        if isinstance(value, types.MemberDescriptorType):
            yield f"{name}: slot"
            continue
        text = w.text(value, f".{name}")
        if not isinstance(value, types.FunctionType | property | classmethod | staticmethod | type):
            w.note(f"attribute {name}", text)
        yield f"{name}: {text}"


def _is_made(cls: type, name: str, value: Any) -> bool:
    """Tell whether an entry was made by a dataclass, a named tuple, a protocol or an enum."""
    if isinstance(cls, enum.EnumMeta):
        sunder = name.startswith("_") and name.endswith("_") and not _is_written(value)
        return name in cls.__members__ or sunder
    made = "__dataclass_fields__" in vars(cls) or (issubclass(cls, tuple) and "_fields" in vars(cls))
    if made and name in _GENERATED:
        return not _is_written(value)
    return "_is_protocol" in vars(cls) and name in ("__init__", "__subclasshook__") and not _is_written(value)


def _is_written(value: Any) -> bool:
    """Tell whether a function of a class is written in a file of the user."""
    fn = getattr(value, "__func__", value)
    if not isinstance(fn, types.FunctionType):
        return not isinstance(fn, types.BuiltinFunctionType) and callable(fn)
    return origin.of_function(fn) is USER and not fn.__code__.co_filename.startswith("<string>")


def _members(w: Walker, cls: enum.EnumMeta) -> Iterator[str]:
    for name, member in dict[str, Any](cls.__members__).items():
        text = w.text(member._value_, f".{name}")
        w.note(f"attribute {name}", text)
        yield f"{name}={text}"
    boundary = vars(cls).get("_boundary_")
    if boundary is not None:
        yield f"boundary {boundary.name}"


def _dataclass(w: Walker, cls: type) -> Iterator[str]:
    params = vars(cls)["__dataclass_params__"]
    yield "options " + " ".join(option for option in _OPTIONS if getattr(params, option))
    for field in vars(cls)["__dataclass_fields__"].values():
        values = [getattr(field, name) for name in _FIELD]
        shown = [None if v is dataclasses.MISSING else (v,) for v in values]
        kind = field._field_type.name
        yield f"field {w.text(shown, f'.{field.name}')} {kind} {w.text(dict(field.metadata), ' metadata')}"


def _registered(w: Walker, cls: type) -> Iterator[str]:
    if not isinstance(cls, abc.ABCMeta):
        return
    registry = abc._get_dump(cls)[0]  # type: ignore[attr-defined]
    if registry:
        w.refuse("other classes were registered as its subclasses", PLAIN_HINT)
    yield "abstract"


def _hints_may_count(cls: type) -> bool:
    """Tell whether some library reads the type hints of a class: its metaclass or a base is installed."""
    related = [type(cls), *cls.__mro__]
    return any(origin.of_module(c.__module__) not in (USER, STDLIB) for c in related)
