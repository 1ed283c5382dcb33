"""Where code comes from: the standard library, an installed distribution, or the user's own project.

Installed code counts by name and version, the standard library by name alone (its version is the version
of Python, which is not identity), and the user's own code by content.
"""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal

#: Py_TPFLAGS_HEAPTYPE: made at run time, not compiled into the interpreter.
HEAP_TYPE = 1 << 9
#: The folder of this package: its code counts by version.
_OWN = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True)
class Origin:
    """Where some code comes from; ``packages`` are the distributions by name and version."""

    kind: Literal["user", "stdlib", "package"]
    packages: tuple[tuple[str, str], ...] = ()


USER = Origin("user")
STDLIB = Origin("stdlib")


@dataclass(frozen=True)
class Named:
    """Installed code that can be reached by a name: module, name inside it, and origin."""

    module: str
    name: str
    origin: Origin


@cache
def of_file(filename: str) -> Origin:
    """Return the origin of the code in a file."""
    if filename.startswith("<frozen "):
        return STDLIB
    path = os.path.realpath(filename)
    if _inside(path, _OWN):
        return Origin("package", (("qmtl", _version("qmtl")),))
    for root in _site_roots():
        if _inside(path, root):
            return _installed(os.path.relpath(path, root))
    if any(_inside(path, os.path.realpath(sysconfig.get_path(key))) for key in ("stdlib", "platstdlib")):
        return STDLIB
    return USER


def of_module(name: str) -> Origin:
    """Return the origin of a loaded module by its name; a module that is not loaded is the user's."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.origin in ("built-in", "frozen") and name in sys.builtin_module_names:
        return STDLIB
    filename = getattr(module, "__file__", None) or (spec.origin if spec is not None else None)
    if filename == "frozen" and name.partition(".")[0] in sys.stdlib_module_names:
        return STDLIB
    if filename is not None:
        return of_file(filename)
    folders = {of_file(f"{folder}/_") for folder in getattr(module, "__path__", ())}
    return folders.pop() if len(folders) == 1 else USER


def of_function(fn: FunctionType) -> Origin:
    """Return the origin of a Python function by the file of its code, which a decorator cannot rename.

    Code without a file is that of the module that it is found in by its name. What was executed in the namespace of
    a module and is not found there, as in a doctest, is the user's.
    """
    filename = fn.__code__.co_filename
    if filename.startswith("<") and not filename.startswith("<frozen "):
        module = str(fn.__globals__.get("__name__"))
        return of_module(module) if _reached(module, fn.__code__.co_qualname) is fn else USER
    return of_file(filename)


def named(value: Any) -> Named | None:
    """Return how installed code is reached by name, or None if it is the user's or has no such name."""
    if isinstance(value, FunctionType) and of_function(value) is USER:
        return None
    if not isinstance(value, type) and of_module(type(value).__module__) is USER:
        return None
    if isinstance(value, type) and value.__module__ == "builtins" and not value.__flags__ & HEAP_TYPE:
        return Named("builtins", value.__qualname__, STDLIB)
    for module, name in _addresses(value):
        origin = of_module(module)
        if origin is not USER and _reached(module, name) is value:
            return Named(_public(module, name, value), name, origin)
    return None


def _addresses(value: Any) -> Iterator[tuple[str, str]]:
    owner = getattr(value, "__self__", None)
    modules = [
        owner.__name__ if isinstance(owner, ModuleType) else getattr(value, "__module__", None),
        type(owner).__module__,
        type(value).__module__,
    ]
    names = [getattr(value, key, None) for key in ("__qualname__", "__name__")]
    if isinstance(value, FunctionType):
        modules, names = [value.__globals__.get("__name__")], [value.__code__.co_qualname]
    for module in modules:
        for name in names:
            if isinstance(module, str) and isinstance(name, str):
                yield module, name


def _reached(module: str, name: str) -> object:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _public(module: str, name: str, value: object) -> str:
    """Return the public module of a private one (``pathlib._local``, ``_collections``), which is stable."""
    parts = module.split(".")
    private = next((i for i, part in enumerate(parts) if part.startswith("_") and i), len(parts))
    for public in (".".join(parts[:private]), parts[0].lstrip("_")):
        if public != module and _reached(public, name) is value:
            return public
    return module


def _inside(path: str, root: str) -> bool:
    return path.startswith(root.rstrip(os.sep) + os.sep)


@cache
def _site_roots() -> tuple[str, ...]:
    roots = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    roots |= {site.getusersitepackages(), *site.getsitepackages()}
    roots |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    return tuple(sorted((os.path.realpath(root) for root in roots), key=len, reverse=True))


def _installed(relative: str) -> Origin:
    packages: list[tuple[str, str]] = []
    for name in sorted(set(_distributions().get(relative.split(os.sep, maxsplit=1)[0].partition(".")[0], ()))):
        version = _version(name)
        if version == "":
            return USER
        packages.append((name.lower(), version))
    return Origin("package", tuple(packages)) if packages else USER


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@cache
def _version(name: str) -> str:
    """Return what tells one build of a distribution from another; "" for one installed from a folder."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return "unreleased"
    if name == "qmtl":
        return found.version
    direct: dict[str, Any] = json.loads(found.read_text("direct_url.json") or "{}")
    if "dir_info" in direct:
        return ""
    commit = direct.get("vcs_info", {}).get("commit_id", "")
    return f"{found.version}+{commit}" if commit else found.version
