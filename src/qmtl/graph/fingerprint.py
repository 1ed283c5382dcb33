"""Fingerprint of code: what a compute function means, whatever it is called and wherever it stands.

The meaning of a live object is written as text, and the text is hashed. The rules:

1. An object that is an input of the node is the position of that input.
2. A plain value is its canonical text (`qmtl.graph.canonical`); in code the order of a mapping counts,
   because a loop sees it.
3. Installed code is a name and the version of its distribution; the standard library is a name alone.
4. A function of the user is its normalised syntax (`qmtl.graph.syntax`), its defaults, its attributes, and
   every name that it reads from outside, closure cells and globals, each followed by these rules. Modules
   are followed by attribute (``mod.sub.f``); of any other object, all counts.
5. What wraps a function counts with the function: a bound object, a partial, a cache, a decorator, numba.
6. An object of a user class is its class, read live, and its state.
7. An object met before is its number, which ends every cycle and tells a shared list from two equal ones.
8. What is left has no text, and the fingerprint is refused: an unknown meaning is never shared.

What does not count: comments, docstrings, type hints of functions, formatting, file, line, module, the name
of the function itself (in a recursion too), the version of Python. Names of parameters and local variables
do count: renaming one gives another fingerprint.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qmtl.errors import UnhashableCodeError
from qmtl.graph.canonical import PLAIN_HINT, canonical
from qmtl.graph.meaning import meaning
from qmtl.graph.walk import Captured, Walker, digest

#: Version of the canonical form; a new one changes every fingerprint, and the golden file with it.
FORM = "qmtl.code/1"


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of a function.

    Attributes
    ----------
    digest : str
        SHA-256 of the meaning, 64 hex characters.
    parts : mapping of str to str
        The meaning in pieces: ``source``, ``default n``, ``closure k``, ``global limit``,
        ``helper util.f``, ``package numpy``, ``captured price``; a value is short text or a digest.
    """

    digest: str
    parts: Mapping[str, str]


def fingerprint(fn: object, *, version: str | None = None, captured: Captured = lambda _: None) -> Fingerprint:
    """Return the fingerprint of a compute function.

    Equal in Python 3.11, 3.12 and 3.13, in any process. Other objects than functions work too: the
    fingerprint of a value is its content and the code of its class.

    Parameters
    ----------
    fn : callable
        A function, lambda, partial, bound method, callable object or class.
    version : str, optional
        Pins the identity by hand: code is not looked at, only this text, the name and module of ``fn``,
        and those defaults, closure values and bound arguments that are plain values.
    captured : callable, optional
        Given any object met on the way, returns a token (``"input:0"``) if the object is an input of the
        node, else None.

    Raises
    ------
    UnhashableCodeError
        If something that ``fn`` refers to cannot be followed; the message names it and the remedy.

    Examples
    --------
    >>> def scaled(view, k=2):
    ...     return view * k
    >>> dict(fingerprint(scaled).parts)["default k"]
    '2'
    >>> fingerprint(scaled, version="1") == fingerprint(scaled, version="2")
    False
    """
    if version is not None:
        return _pinned(fn, version)
    walker, text = _walk(fn, captured, naming=False)
    if walker.reads_names:
        walker, text = _walk(fn, captured, naming=True)
    return Fingerprint(digest(f"{FORM} {text}"), types.MappingProxyType(walker.parts))


def _walk(fn: object, captured: Captured, *, naming: bool) -> tuple[Walker, str]:
    walker = Walker(_called(fn), captured, meaning, naming=naming)
    try:
        return walker, walker.text(fn)
    except RecursionError:
        raise UnhashableCodeError(f"{_called(fn)}: nested too deeply", hint=PLAIN_HINT) from None


def _called(fn: object) -> str:
    """Return what messages call a function."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return f"function {getattr(fn, '__qualname__', type(fn).__qualname__)!r}"


def _pinned(fn: object, version: str) -> Fingerprint:
    """Return the fingerprint of a function whose meaning its author vouches for."""
    values: dict[str, str] = {}
    while isinstance(fn, functools.partial):
        values |= {f"partial {k}": t for k, v in enumerate(fn.args) if (t := _plain(v))}
        values |= {f"partial {k}": t for k, v in fn.keywords.items() if (t := _plain(v))}
        fn = fn.func
    function: Any = getattr(fn, "__func__", fn)
    code = getattr(function, "__code__", None)
    if code is not None:
        names = code.co_varnames[: code.co_argcount][::-1]
        defaults = dict(zip(names, (function.__defaults__ or ())[::-1], strict=False))
        defaults |= function.__kwdefaults__ or {}
        values |= {f"default {k}": t for k, v in defaults.items() if (t := _plain(v))}
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        values |= {f"closure {k}": t for k, cell in cells if (t := _plain(_content(cell)))}
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(fn).__qualname__)}"
    parts = {"version": version, "name": name, **dict(sorted(values.items()))}
    return Fingerprint(digest(f"{FORM} pinned {canonical(parts)}"), types.MappingProxyType(parts))


def _plain(value: object) -> str | None:
    try:
        return canonical(value)
    except UnhashableCodeError:
        return None


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def explain(a: Fingerprint, b: Fingerprint) -> list[str]:
    """Return one line for each difference between two fingerprints; none if they are equal.

    Examples
    --------
    >>> def sums(k):
    ...     return lambda view: view + k
    >>> explain(fingerprint(sums(2)), fingerprint(sums(3)))
    ['closure k: 2 → 3']
    """
    if a.digest == b.digest:
        return []
    moved = _moved(a.parts, b.parts)
    lines = []
    for name in [*a.parts, *(name for name in b.parts if name not in a.parts)]:
        if name in moved.values():
            continue
        old, new = a.parts.get(name), b.parts.get(moved.get(name, name))
        if old != new:
            lines.append(_line(f"{name} → {moved[name]}" if name in moved else name, old, new))
    return lines or ["a detail changed that has no part of its own"]


def _moved(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, str]:
    """Return parts of helpers that only live in another module: the module is no identity."""
    gone, came = ([n for n in x if n not in y and n.startswith("helper ")] for x, y in ((a, b), (b, a)))
    pairs = {name: [other for other in came if _bare(other) == _bare(name)] for name in gone}
    return {name: others[0] for name, others in pairs.items() if len(others) == 1}


def _bare(name: str) -> str:
    """Return a part without the modules of its helpers: ``helper f global K``."""
    return " ".join(word.rpartition(".")[2] for word in name.split(" "))


def _line(name: str, old: str | None, new: str | None) -> str:
    if old is None or new is None:
        return f"{name} {'added' if old is None else 'removed'}"
    if old.startswith("sha256:") and new.startswith("sha256:"):
        return f"{name} changed"
    arrow = " " if name.startswith("package ") else ": "
    return f"{name}{arrow}{old} → {new}"
