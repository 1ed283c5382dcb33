"""Normal form of a function's syntax: what it means, without how it is written.

The text is written here and not by ``ast.dump`` or ``ast.unparse``: the first prints other fields in
other Pythons, the second prints strings through ``repr``, which depends on the Unicode tables of the
interpreter, and f-strings by other rules before and after Python 3.12.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Container, Sequence
from typing import Any

from qmtl.graph.canonical import canonical, quoted

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
SELF = "<self>"
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def bare(node: FunctionNode) -> FunctionNode:
    """Return a copy of a function without docstrings, annotations, decorators, defaults and own name.

    Decorators and defaults have done their work when the function exists: their results are read from
    the live object. Annotations stay where somebody may read them while the function runs: in the body
    of a class, and on a nested function that has a decorator.
    """
    clean: FunctionNode = _Cleaner().visit(copy.deepcopy(node))
    if not isinstance(clean, ast.Lambda):
        clean.name, clean.decorator_list = SELF, []
        _drop_annotations(clean)
    clean.args.defaults = [ast.Constant(...) for _ in clean.args.defaults]
    clean.args.kw_defaults = [default and ast.Constant(...) for default in clean.args.kw_defaults]
    return clean


def text(node: ast.AST, own: Container[int] = ()) -> str:
    """Return the text of a syntax tree; names whose ``id()`` is in ``own`` are the function itself."""
    if isinstance(node, ast.Name) and id(node) in own:
        return SELF
    if isinstance(node, ast.JoinedStr):
        return f"(JoinedStr {_value(_joined(node), own)})"
    if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        spec = node.format_spec
        node.format_spec = spec if isinstance(spec, ast.JoinedStr) and _joined(spec) else None
    fields = [(name, getattr(node, name, None)) for name in node._fields if name not in _SILENT]
    inside = [f" {name}={_value(v, own)}" for name, v in fields if v is not None and v != []]
    return f"({type(node).__name__}{''.join(inside)})"


def _value(value: Any, own: Container[int]) -> str:
    if isinstance(value, ast.AST):
        return text(value, own)
    if isinstance(value, list):
        return "[" + " ".join(_value(item, own) for item in value) + "]"
    return quoted(value) if isinstance(value, str) else canonical(value)


def _joined(node: ast.JoinedStr) -> list[ast.expr]:
    """Return the parts of an f-string, literal neighbours merged and empty literals dropped."""
    parts: list[ast.expr] = []
    for part in node.values:
        for piece in _joined(part) if isinstance(part, ast.JoinedStr) else [part]:
            last = parts[-1] if parts else None
            if isinstance(piece, ast.Constant) and isinstance(last, ast.Constant):
                parts[-1] = ast.Constant(f"{last.value!s}{piece.value!s}")
            elif not (isinstance(piece, ast.Constant) and piece.value == ""):
                parts.append(piece)
    return parts


def _drop_annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    arguments = node.args
    rest = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *rest):
        argument.annotation = None
    node.returns = None


def _without_docstring(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if documented and isinstance(first.value.value, str):  # type: ignore[attr-defined]
        return [*body[1:]] or [ast.Pass()]
    return [*body]


class _Cleaner(ast.NodeTransformer):
    """Drops docstrings and the annotations that nobody can read."""

    def __init__(self) -> None:
        self._in_class = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        if not node.decorator_list:
            _drop_annotations(node)
        return self._inside(node, in_class=False)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._inside(node, in_class=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        return self._inside(node, in_class=True)

    def _inside(self, node: ast.AST, *, in_class: bool) -> ast.AST:
        before, self._in_class = self._in_class, in_class
        self.generic_visit(node)
        self._in_class = before
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if self._in_class:
            return node
        if node.value is not None:
            return ast.Assign(targets=[node.target], value=node.value)
        node.annotation = ast.Constant(...)
        return node
