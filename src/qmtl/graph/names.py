"""Names that a function reads from outside, each resolved to the live object behind it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from qmtl.graph import installed, origin
from qmtl.graph.canonical import PLAIN
from qmtl.graph.origin import USER, Named
from qmtl.graph.references import References, Use
from qmtl.graph.scopes import Import
from qmtl.graph.walk import Walker

_LATE_HINT = "define it before the node is built, or pass it in as an argument"
_WRAPPERS = frozenset({"functools", "numba.core.registry", "numba.np.ufunc.dufunc"})
_MISSING = object()


class Names:
    """The outside names of one function: closure cells, globals, builtins, and imports inside it."""

    def __init__(self, w: Walker, fn: FunctionType, found: References) -> None:
        self._w = w
        self._fn = fn
        self._found = found
        self._cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        live: Any = fn  # the stubs of the standard library do not agree on this attribute
        self._builtins: Mapping[str, Any] = live.__builtins__

    def own(self) -> frozenset[int]:
        """Return the syntax nodes that name the function itself, as in a recursion."""
        name = self._fn.__code__.co_name
        use = self._found.free.get(name)
        return frozenset(use.nodes) if use is not None and self._resolve(name)[1] is self._fn else frozenset()

    def texts(self) -> Iterator[str]:
        """Return the text of every outside name, sorted by name."""
        uses = {**self._found.free}
        for name in self._cells:  # one that no syntax names is the class that super() looks for
            uses.setdefault(name, Use(chains={()}))
        for name in sorted(uses):
            kind, value = self._resolve(name)
            if value is self._fn and name == self._fn.__code__.co_name:
                continue
            if value is _MISSING:
                self._w.refuse(f"the name {name!r} is not bound yet", _LATE_HINT)
            yield from self._used(kind, name, value, uses[name])
        for name in sorted(self._found.maybe):
            kind, value = self._resolve(name)
            if value is not _MISSING:
                yield from self._used(kind, name, value, self._found.maybe[name])
        for spec in sorted(self._found.imports, key=str):
            label = ".".join(part for part in (spec.module, spec.name) if part)
            yield from self._used("import", label, self._imported(spec), self._found.imports[spec])

    def _resolve(self, name: str) -> tuple[str, Any]:
        name = self._mangled(name)
        if name in self._cells:
            try:
                return "closure", self._cells[name].cell_contents
            except ValueError:  # the cell is still empty
                return "closure", _MISSING
        if name in self._fn.__globals__:
            return "global", self._fn.__globals__[name]
        return "builtin", self._builtins.get(name, _MISSING)

    def _mangled(self, name: str) -> str:
        """Return what the compiler made of a private name inside a class."""
        if not name.startswith("__") or name.endswith("__"):
            return name
        names = all_names(self._fn.__code__)
        return next((n for n in sorted(names) if n.startswith("_") and n.endswith(name) and n != name), name)

    def _used(self, kind: str, name: str, value: Any, use: Use) -> Iterator[str]:
        if use.dynamic and not self._is_installed(value):
            hint = "write the attributes out, or keep the choices in a dict"
            self._w.refuse(f"getattr on {name!r} with a name that is not a literal", hint)
        if not isinstance(value, ModuleType):
            yield f"{name}: {self._text(kind, name, value)}"
            return
        if any(len(chain) == 1 or self._is_module(value, chain[:-1]) for chain in use.written):
            self._w.refuse(f"writes to an attribute of the module {name!r}", "return the value instead")
        for chain in sorted(use.chains) or [()]:
            yield f"{'.'.join((name, *chain))}: {self._chain(kind, name, value, chain)}"

    def _is_installed(self, value: Any) -> bool:
        if isinstance(value, ModuleType):
            return origin.of_module(value.__name__) is not USER
        return origin.named(value) is not None

    def _is_module(self, value: Any, chain: tuple[str, ...]) -> bool:
        for name in chain:
            value = getattr(value, name, None)
        return isinstance(value, ModuleType)

    def _chain(self, kind: str, name: str, value: Any, chain: tuple[str, ...]) -> str:
        """Follow attributes while they lead from module to module; write what is reached."""
        module: ModuleType | None = None
        label = name
        for step in chain:
            if not isinstance(value, ModuleType):
                break
            module, label = value, f"{label}.{step}"
            value = self._attribute(module, step, label)
        if module is None or isinstance(value, ModuleType):
            return self._text(kind, label, value)
        return self._member(kind, label, value, module)

    def _attribute(self, module: ModuleType, name: str, label: str) -> Any:
        installed.check_allowed(self._w, module.__name__, name)
        if origin.of_module(module.__name__) is not USER:
            value = getattr(module, name, _MISSING)
        else:
            submodule = sys.modules.get(f"{module.__name__}.{name}", _MISSING)
            value = _MISSING if name == "__dict__" else vars(module).get(name, submodule)
        if value is _MISSING:
            self._w.refuse(f"{label} is not bound yet, or made on demand", _LATE_HINT)
        return value

    def _member(self, kind: str, label: str, value: Any, module: ModuleType) -> str:
        """Write a member of a module; one of installed code that has no other text, by its name there."""
        place = origin.of_module(module.__name__)
        if place is USER or type(value) in PLAIN or not _is_installed_object(value):
            return self._text(kind, label, value)
        found = origin.named(value) or Named(module.__name__, label.rpartition(".")[2], place)
        return installed.by_name(self._w, found)

    def _text(self, kind: str, name: str, value: Any) -> str:
        if kind == "builtin" and name == "getattr" and value is getattr:
            return "getattr"  # the syntax was checked: it is called at once
        text = self._w.text(value, f" → {kind} {name}")
        if not isinstance(value, type | FunctionType | ModuleType):
            self._w.note(f"{kind} {name}", text)
        return text

    def _imported(self, spec: Import) -> Any:
        package = self._fn.__globals__.get("__package__")
        try:
            load = importlib.util.resolve_name("." * spec.level + spec.load, package)
            module = importlib.import_module(load)
            if spec.name is None:
                return sys.modules[spec.module] if spec.load != spec.module else module
            if not hasattr(module, spec.name):
                return importlib.import_module(f"{load}.{spec.name}")
        except ImportError as error:
            self._w.refuse(f"cannot follow an import inside the function ({error})", _LATE_HINT)
        return self._attribute(module, spec.name, f"{load}.{spec.name}")


def _is_installed_object(value: Any) -> bool:
    """Tell whether an object in an installed module is its own, and not code that was patched in."""
    made_by = type(value).__module__
    wrapper = made_by == "builtins" or made_by in _WRAPPERS
    return not isinstance(value, type) and not wrapper and origin.of_module(made_by) is not USER


def all_names(code: CodeType) -> set[str]:
    """Return every name in a code object and the code inside it."""
    names = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= all_names(constant)
    return names
