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

import types
from collections.abc import Mapping
from dataclasses import dataclass

from qmtl.graph.walk import Captured

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
    walker = _walk(fn, captured, naming=False, version=version)
    if walker.reads_names:
        walker = _walk(fn, captured, naming=True, version=version)
    return Fingerprint(walker.result, types.MappingProxyType(walker.parts))


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
    lines = []
    for name in [*a.parts, *(name for name in b.parts if name not in a.parts)]:
        old, new = a.parts.get(name), b.parts.get(name)
        if old == new:
            continue
        if old is None or new is None:
            lines.append(f"{name} {'added' if old is None else 'removed'}")
        elif old.startswith("sha256:") and new.startswith("sha256:"):
            lines.append(f"{name} changed")
        else:
            arrow = " " if name.startswith("package ") else ": "
            lines.append(f"{name}{arrow}{old} → {new}")
    return lines or ["a detail changed that has no part of its own"]
