"""Text of installed code and of objects made by it: names with versions, and what a pickle would hold."""

from __future__ import annotations

import enum
import logging
import types
from typing import Any

from qmtl.graph import origin
from qmtl.graph.origin import USER, Named
from qmtl.graph.walk import Walker

#: Modules that run or show code out of sight, so that a function using them cannot be followed.
_FORBIDDEN = frozenset(
    [
        "cffi",
        "code",
        "codeop",
        "ctypes",
        "dis",
        "duckdb",
        "gc",
        "imp",
        "importlib",
        "inspect",
        "marshal",
        "numexpr",
        "patsy",
        "pickle",
        "pkgutil",
        "pydoc",
        "runpy",
        "shelve",
        "symtable",
        "zipimport",
    ]
)
_FORBIDDEN_NAMES = {
    "builtins": frozenset(
        ["__import__", "breakpoint", "compile", "delattr", "eval", "exec", "getattr", "globals", "locals", "vars"]
    ),
    "sys": frozenset(["_current_frames", "_getframe", "_getframemodulename", "call_tracing", "modules"]),
    "types": frozenset(["CodeType", "FrameType", "FunctionType", "LambdaType"]),
    "typing": frozenset({"get_type_hints"}),
    "pandas": frozenset({"eval"}),
}
_HINT = 'do this outside of the node, or pin the identity by hand with version="…"'
_BOUND = (types.BuiltinFunctionType, types.MethodWrapperType)
_DESCRIPTORS = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)


def check_allowed(w: Walker, module: str, name: str) -> None:
    """Refuse a name through which code is reached that cannot be followed."""
    top = module.partition(".")[0].lstrip("_")
    if top in _FORBIDDEN or name in _FORBIDDEN_NAMES.get(top, ()):
        w.refuse(f"{module}.{name} reaches code that cannot be followed", _HINT)
    if (top, name) == ("dataclasses", "fields"):
        w.reads_names = True  # fields show the type hints


def by_name(w: Walker, found: Named) -> str:
    """Return the text of installed code: its name, and the name and version of what installed it."""
    check_allowed(w, found.module, found.name)
    for name, version in found.origin.packages:
        w.note_package(name, version)
    return w.tagged(found.origin.kind, f"{found.module}.{found.name}", found.origin.packages)


def module(w: Walker, value: types.ModuleType) -> str:
    """Return the text of a module that is passed around as a value."""
    place = origin.of_module(value.__name__)
    if place is USER:
        hint = f"use what you need from it directly, as in {value.__name__.rpartition('.')[2]}.f(x)"
        w.refuse(f"the module {value.__name__} is used as a value", hint)
    if value.__name__ in _FORBIDDEN_NAMES and value.__name__ not in ("pandas", "typing"):
        w.refuse(f"the module {value.__name__} is used as a value", _HINT)
    return by_name(w, Named(value.__name__, "", place))


def compiled(w: Walker, value: Any) -> str | None:
    """Return the text of a method or descriptor written in C; None for anything else."""
    if isinstance(value, _DESCRIPTORS):
        return f"{w.text(value.__objclass__, ' class')}.{value.__name__}"
    if isinstance(value, _BOUND):
        if isinstance(value.__self__, types.ModuleType) or value.__self__ is None:
            w.refuse(f"{value.__qualname__} is compiled code without a version", _HINT)
        return f"method({w.text(value.__self__, ' object')}, {w.text(value.__name__)})"
    return None


def instance(w: Walker, value: Any) -> str:
    """Return the text of an object of an installed class: what its author puts into a pickle."""
    if isinstance(value, logging.Logger):
        return "logger"  # what it is called shows in log lines only
    if isinstance(value, enum.Enum):
        return f"{w.text(type(value), ' class')}({w.text(value.value, '.value')})"
    what = f"a {type(value).__module__}.{type(value).__qualname__}"
    if hasattr(type(value), "__next__"):
        w.refuse(f"{what} is used up by reading it")
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:  # noqa: BLE001  (the author of the class decides what it raises)
        w.refuse(f"{what} has no canonical form ({error})")
    if isinstance(reduced, str):
        w.refuse(f"{what} has no canonical form")
    maker, arguments, *rest = reduced
    state, items, entries = (*rest, None, None, None)[:3]
    parts = (maker, arguments, state, None if items is None else list(items))
    return w.tagged("object", *parts, None if entries is None else list(entries))
