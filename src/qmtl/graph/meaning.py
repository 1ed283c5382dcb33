"""What an object means, by its kind: the table that the walk of a fingerprint consults."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from qmtl.graph import callables, classes, installed, origin
from qmtl.graph.canonical import PLAIN
from qmtl.graph.origin import USER
from qmtl.graph.walk import Walker


def meaning(w: Walker, value: Any) -> str:
    """Return the text of an object that is neither an atom nor a fixed plain value."""
    cls = type(value)
    wrapper = callables.WRAPPERS.get(cls) or callables.WRAPPERS.get(f"{cls.__module__}.{cls.__qualname__}")
    if wrapper is not None:
        return wrapper(w, value)
    if isinstance(value, ModuleType):
        return installed.module(w, value)
    found = origin.named(value)
    if found is not None:
        return installed.by_name(w, found)
    if isinstance(value, type):
        return classes.class_text(w, value)
    if cls in PLAIN:
        return w.plain(value)
    text = w.numpy(value) or installed.compiled(w, value)
    if text is not None:
        return text
    if origin.of_module(cls.__module__) is USER:
        return classes.instance_text(w, value)
    return installed.instance(w, value)
