"""Text of functions and of what wraps them: their syntax, defaults, cells, attributes and outside names."""

from __future__ import annotations

import dis
import functools
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from qmtl.errors import UnhashableCodeError
from qmtl.graph import installed, origin, source, syntax
from qmtl.graph.names import Names, all_names
from qmtl.graph.origin import USER, Named
from qmtl.graph.references import References, references
from qmtl.graph.walk import Walker, digest

_PRIVATE = re.compile(r"_[^_].*__\w")
_GLOBALS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})


@dataclass(frozen=True)
class _Syntax:
    """What the code of a function says, whatever its values: its bare tree and its references."""

    code: CodeType
    node: syntax.FunctionNode
    found: References
    text: str


_known: dict[int, _Syntax] = {}


def function(w: Walker, fn: FunctionType) -> str:
    """Return the text of a Python function."""
    found = origin.named(fn)
    if found is not None:
        return installed.by_name(w, found)
    place = origin.of_function(fn)
    if place is not USER:
        return _installed_closure(w, fn, place)
    known = _syntax(w, fn)
    for why, hint in known.found.refusals:
        w.refuse(why, hint)
    w.reads_names |= known.found.reads_names
    names = Names(w, fn, known.found)
    own = names.own()
    text = syntax.text(known.node, own) if own else known.text
    with w.helper(f"{fn.__module__}.{fn.__qualname__}", text):
        inside = [digest(text), *_defaults(w, fn), *names.texts(), *_attributes(w, fn)]
    if known.found.private:
        inside.append("private: " + " ".join(sorted(n for n in all_names(fn.__code__) if _PRIVATE.match(n))))
    if known.found.asserts and sys.flags.optimize:
        inside.append("asserts are off")
    if w.naming:
        inside.append(w.tagged("named", fn.__module__, fn.__qualname__, fn.__name__))
    return f"function({', '.join(inside)})"


def _syntax(w: Walker, fn: FunctionType) -> _Syntax:
    known = _known.get(id(fn.__code__))
    if known is None:
        try:
            node = syntax.bare(source.definition(fn.__code__, fn.__globals__))
        except UnhashableCodeError as error:
            raise UnhashableCodeError(f"{''.join(w.path)}: {error.args[0]}", hint=error.hint) from None
        known = _Syntax(fn.__code__, node, references(node), syntax.text(node))
        missed = _globals_of(fn.__code__) - known.found.free.keys() - known.found.maybe.keys()
        if any(not known.found.private or not _PRIVATE.match(name) for name in missed):
            w.refuse(f"cannot tell where {min(missed)!r} comes from", "rename it, so that it is one thing")
        _known[id(fn.__code__)] = known
    return known


def _globals_of(code: CodeType) -> set[str]:
    """Return the globals that the compiled code uses: the check of the reading of its syntax."""
    names = {str(i.argval) for i in dis.get_instructions(code) if i.opname in _GLOBALS}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _globals_of(constant)
    return names


def _defaults(w: Walker, fn: FunctionType) -> Iterator[str]:
    code = fn.__code__
    values = fn.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(values) :]
    pairs = [*zip(names, values, strict=True), *sorted((fn.__kwdefaults__ or {}).items())]
    for name, value in pairs:
        text = w.text(value, f" → default {name}")
        w.note(f"default {name}", text)
        yield f"default {name}={text}"


def _attributes(w: Walker, fn: FunctionType) -> Iterator[str]:
    if fn.__dict__:
        yield f"attributes {w.text(dict(fn.__dict__), ' → attributes')}"


def _installed_closure(w: Walker, fn: FunctionType, place: origin.Origin) -> str:
    """Return the text of a function that installed code made, such as the wrapper of a decorator."""
    code, module = fn.__code__, str(fn.__globals__.get("__name__"))
    where = "" if place.kind == "stdlib" else f":{code.co_firstlineno}"  # lines of Python's own files move
    inside = [installed.by_name(w, Named(module, code.co_qualname + where, place)), *_defaults(w, fn)]
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
        try:
            inside.append(f"{name}: {w.text(cell.cell_contents, f' → closure {name}')}")
        except ValueError:
            inside.append(f"{name}: empty")
    return f"closure({', '.join([*inside, *_attributes(w, fn)])})"


def _partial(w: Walker, value: functools.partial[Any]) -> str:
    inside = [w.text(value.func, "")]
    for name, argument in [*((str(i), a) for i, a in enumerate(value.args)), *value.keywords.items()]:
        text = w.text(argument, f" → partial argument {name}")
        w.note(f"partial {name}", text)
        inside.append(f"{name}={text}")
    return f"partial({', '.join(inside)}, {w.text(dict(vars(value)), ' attributes')})"


def _method(w: Walker, value: types.MethodType) -> str:
    found = origin.named(value)
    if found is not None:
        return installed.by_name(w, found)
    return f"method({w.text(value.__func__)}, {w.text(value.__self__, ' → self')})"


def _cached(w: Walker, value: Any) -> str:
    limits = sorted(value.cache_parameters().items())
    return f"cached({w.text(value.__wrapped__)}, {w.text(limits)})"


def _dispatcher(w: Walker, value: Any) -> str:
    """Return the text of a function compiled by numba: its source, its options, its fixed signatures."""
    fixed = [] if value._can_compile else [str(s) for s in value.nopython_signatures]
    return _jitted(w, value.py_func, value.targetoptions, [*fixed, *map(str, sorted(value.locals))])


def _universal(w: Walker, value: Any) -> str:
    compiler = value._dispatcher
    fixed = list(value.types) if value._frozen else []
    return _jitted(w, compiler.py_func, compiler.targetoptions, [*fixed, str(value.identity)])


def _jitted(w: Walker, fn: Any, options: Any, extra: list[str]) -> str:
    for name, version in origin.of_module("numba").packages:
        w.note_package(name, version)
    shown = sorted((str(k), v) for k, v in options.items() if k != "nopython")
    return f"jitted({w.text(fn)}, {w.text(shown, ' → numba options')}, {w.text(extra)})"


_Text = Callable[[Walker, Any], str]
#: What wraps functions, by exact type; the types of numba by name, because it may not be loaded.
WRAPPERS: dict[type | str, _Text] = {
    FunctionType: function,
    types.MethodType: _method,
    functools.partial: _partial,
    type(functools.lru_cache(len)): _cached,
    property: lambda w, v: f"property({', '.join(w.text(f) for f in (v.fget, v.fset, v.fdel))})",
    classmethod: lambda w, v: f"classmethod({w.text(v.__func__)})",
    staticmethod: lambda w, v: f"staticmethod({w.text(v.__func__)})",
    functools.cached_property: lambda w, v: f"cached_property({w.text(v.func)})",
    "numba.core.registry.CPUDispatcher": _dispatcher,
    "numba.np.ufunc.dufunc.DUFunc": _universal,
}
