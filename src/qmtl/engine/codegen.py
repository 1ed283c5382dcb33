"""From an operator's plain Python step to a compiled kernel, cached on disk by content."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import math
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from qmtl.engine import templates
from qmtl.errors import OperatorError
from qmtl.graph.operator import REGISTRY, Operator

#: Called with the operator's name before a compilation that may take a second; the CLI listens.
on_compile: list[Callable[[str], None]] = []


def kernel_source(operator: Operator, *, single: bool, python_mode: bool) -> str:
    """Return the module text of an operator's kernel, for one symbol or for many.

    Raises
    ------
    OperatorError
        The source is not available, or the step uses a global that cannot be compiled.
    """
    names = {"step": operator.step, "lift": operator.lift, "merge": operator.merge}
    steps = _Sources(operator.name)
    text = "\n\n".join(steps.define(alias, function) for alias, function in names.items() if function is not None)
    body = templates.BODIES[operator.kind].format(**_parts(operator, single))
    return templates.HEADER.format(
        name=operator.name, steps="\n\n".join([*steps.helpers, text]), body=body, python_mode=python_mode
    )


def _parts(operator: Operator, single: bool) -> dict[str, Any]:
    """Return what the templates leave open, unrolled for this number of inputs, outputs and states."""
    width, height, wide = len(operator.inputs), len(operator.outputs), operator.state
    inputs, outputs, states = range(width), range(height), range(wide)
    pointwise = operator.kind == "pointwise"

    def cell(k: int, row: str) -> str:
        return f"x{k}[{row}]" if single else f"f[a{k} + {row} * r{k} + s * s{k}]"

    def store(depth: int) -> str:
        values = ["y"] if height == 1 else [f"y[{m}]" for m in outputs]
        places = (f"y{m}[t]" if single else f"f[out + {m} * stride + t * S + s]" for m in outputs)
        return _indent((f"{place} = {value}" for place, value in zip(places, values, strict=True)), depth)

    return {
        "K": width,
        "M": height,
        "W": wide,
        "S": "1" if single else "i[pc + 1]",
        "params": _tuple(f"f[P + {k}]" for k in range(max(1, len(operator.params)))),
        "unpack": _unpack_member(inputs, outputs, single) if pointwise else _unpack(inputs, outputs, single),
        "size": 3 + (2 if single else 4) * width,
        "absent": " or ".join(f"m{k}[t] == 0" for k in inputs),
        "absent_at_q": " or ".join(f"m{k}[q] == 0" for k in inputs),
        "x": _tuple(cell(k, "t") for k in inputs),
        "x_back": _tuple(f"f[back + {k}]" for k in inputs),
        "get_at": "(" + _tuple(f"f[at + {w}]" for w in states) + ")",
        "zeros": _tuple("0.0" for _ in states),
        "put_at": "; ".join(f"f[at + {w}] = agg[{w}]" for w in states),
        "ring_write": _indent(
            (f"ring[{k}, pos] = {cell(k, 't')}; ring[{k}, pos + N] = {cell(k, 't')}" for k in inputs), 12
        ),
        "ring_store": _indent((f"f[at + {k}] = x[{k}]" for k in inputs), 12),
        "panel": _indent((f"panel[{k}, s] = {cell(k, 't')}" for k in inputs), 12),
        "collect": _indent((f"f[fs + (s * {width} + {k}) * N + c] = {cell(k, 'q')}" for k in inputs), 20),
        "store": store(16),
    }


def _unpack(inputs: Iterable[int], outputs: Iterable[int], single: bool) -> str:
    lines = []
    for k in inputs:
        at = f"pc + {11 + 4 * k}"
        lines += _input(k, f"i[{at}]", f"i[{at} + 3]", (f"i[{at} + 1]", f"i[{at} + 2]"), single)
    return _indent([*lines, *_outputs(outputs, single)], 4)


def _unpack_member(inputs: Iterable[int], outputs: Iterable[int], single: bool) -> str:
    """Return the same for one of several neighbours: columns of one symbol have no steps."""
    lines, size = [], 2 if single else 4
    for k in inputs:
        at = f"at + {3 + size * k}"
        lines += _input(k, f"i[{at}]", f"i[{at} + {size - 1}]", (f"i[{at} + 1]", f"i[{at} + 2]"), single)
    return _indent([*lines, *_outputs(outputs, single)], 8)


def _input(k: int, column: str, mask: str, steps: tuple[str, str], single: bool) -> list[str]:
    own = [f"x{k} = f[a{k}:a{k} + rows]"] if single else [f"r{k} = {steps[0]}", f"s{k} = {steps[1]}"]
    return [f"a{k} = {column}", *own, f"m{k} = i[{mask}:{mask} + rows]"]


def _outputs(outputs: Iterable[int], single: bool) -> list[str]:
    return [f"y{m} = f[out + {m} * stride:out + {m} * stride + n]" for m in outputs] if single else []


def _tuple(items: Iterable[str]) -> str:
    return "".join(f"{item}, " for item in items)


def _indent(lines: Iterable[str], depth: int) -> str:
    return "\n".join(" " * depth + line for line in lines)


class _Sources:
    """Collects the source of steps and of the helpers and constants that they use."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.helpers: list[str] = []
        self._seen: dict[str, Any] = {}

    def define(self, alias: str, function: Callable[..., Any]) -> str:
        """Return the njit definition of a function under another name."""
        tree = self._parse(function)
        tree.name, tree.decorator_list, tree.returns = alias, [], None
        for argument in [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs]:
            argument.annotation = None
        if ast.get_docstring(tree) is not None:
            tree.body = tree.body[1:] or [ast.Pass()]
        self._follow(function)
        return "@njit(error_model='numpy')\n" + ast.unparse(tree)

    def _parse(self, function: Callable[..., Any]) -> ast.FunctionDef:
        try:
            text = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            raise OperatorError(
                f"operator {self.operator!r}: the source of its step is not available",
                hint="define the operator in a file or a notebook cell, not with exec",
            ) from None
        tree = ast.parse(text).body[0]
        if not isinstance(tree, ast.FunctionDef) or function.__closure__:
            raise OperatorError(
                f"operator {self.operator!r}: its step must be a plain function without closure variables",
                hint="pass values as params= of the operator",
            )
        return tree

    def _follow(self, function: Callable[..., Any]) -> None:
        for name, value in _globals_used(function).items():
            if name in self._seen:
                if self._seen[name] is not value:
                    raise OperatorError(
                        f"operator {self.operator!r}: its steps use two different globals called {name!r}"
                    )
                continue
            self._seen[name] = value
            if isinstance(value, ModuleType) and value.__name__ in ("math", "numpy"):
                self.helpers.insert(0, f"import {value.__name__} as {name}")
            elif isinstance(value, (bool, int, float)):
                self.helpers.insert(0, f"{name} = {_literal(value)}")
            elif isinstance(value, FunctionType):
                self.helpers.append(self.define(name, value))
            else:
                raise OperatorError(
                    f"operator {self.operator!r}: its step uses the global {name!r}, which cannot be compiled",
                    hint="use math, np, numeric constants, plain functions, or params= of the operator",
                )


def _literal(value: float) -> str:
    return f"float({str(value)!r})" if isinstance(value, float) and not math.isfinite(value) else repr(value)


def _globals_used(function: Callable[..., Any]) -> dict[str, Any]:
    found = inspect.getclosurevars(function).globals
    return {name: found[name] for name in sorted(found)}


def load_kernel(operator: Operator, *, single: bool) -> Any:
    """Return the compiled kernel of an operator, compiling it at most once per machine."""
    from numba import config

    if operator.is_library:  # does not change while the program runs
        return _load_library(operator.name, single, bool(config.DISABLE_JIT))
    return _load_module(operator.name, kernel_source(operator, single=single, python_mode=bool(config.DISABLE_JIT)))


@cache
def _load_library(name: str, single: bool, python_mode: bool) -> Any:
    return _load_module(name, kernel_source(REGISTRY[name], single=single, python_mode=python_mode))


@cache
def _load_module(name: str, source: str) -> Any:
    key = hashlib.sha256(source.encode()).hexdigest()[:24]
    path = cache_dir() / f"kernel_{name}_{key}.py"
    if not path.exists():
        for listener in on_compile:
            listener(name)
        _write_atomically(path, source)
    module_name = f"qmtl_kernel_{name}_{key}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None  # a .py path always has one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return getattr(module, "entry", module.kernel)


@cache
def cache_dir() -> Path:
    """Return the folder of generated kernels: ``$QMTL_CACHE_DIR``, else the user's cache."""
    shared = os.environ.get("XDG_CACHE_HOME")
    own = Path(shared) if shared else Path.home() / ".cache"
    base = Path(os.environ.get("QMTL_CACHE_DIR") or own / "qmtl")
    folder = base / f"kernels-{sys.version_info.major}.{sys.version_info.minor}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="qmtl-kernels-"))
    return folder


def _write_atomically(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(temporary).replace(path)
