"""Which names each scope of a function binds: its own, those it declares global or nonlocal, its imports."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Literal

Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


@dataclass(frozen=True)
class Import:
    """An import inside a function: ``from module import name``, or ``import module`` (``name`` None).

    ``load`` is the module to load first: ``import a.b`` binds ``a`` and loads ``a.b``.
    """

    module: str
    name: str | None
    level: int
    load: str


@dataclass(eq=False)
class Scope:
    """The names of one scope; ``imports`` are bound by an import, ``other`` by anything else."""

    kind: Literal["function", "class"]
    outer: Scope | None
    bound: set[str] = field(default_factory=set)
    declared_global: set[str] = field(default_factory=set)
    declared_outer: set[str] = field(default_factory=set)
    imports: dict[str, set[Import]] = field(default_factory=dict)
    other: set[str] = field(default_factory=set)


def home(name: str, scope: Scope | None) -> Scope | None:
    """Return the scope that binds a name as seen from another scope; None if none of them does."""
    first = True
    while scope is not None:
        if name in scope.declared_global:
            return None
        if name in scope.bound and (first or scope.kind == "function"):
            return scope
        scope, first = scope.outer, False
    return None


def evaluated_outside(node: Definition) -> list[ast.AST]:
    """Return the parts of a definition that its surrounding scope evaluates."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    parts: list[ast.AST] = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
    if not isinstance(node, ast.Lambda):
        annotations = [argument.annotation for argument in arguments(node.args)] + [node.returns]
        parts += [*node.decorator_list, *(a for a in annotations if a is not None)]
    return parts


def arguments(args: ast.arguments) -> list[ast.arg]:
    """Return every argument of a signature."""
    rest = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]


class Binder(ast.NodeVisitor):
    """Collects the names that one scope binds; does not enter the scopes inside it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def bind(self, name: str | None) -> None:
        if name is not None:
            self.scope.bound.add(name)
            self.scope.other.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.bind(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.bind(node.name)
        for part in evaluated_outside(node):
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in evaluated_outside(node):
            self.visit(part)

    def visit_ListComp(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):  # binds in the function around the comprehension
                self.visit(inner.target)

    visit_SetComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp
    visit_DictComp = visit_ListComp

    def visit_Global(self, node: ast.Global) -> None:
        self.scope.declared_global |= set(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.scope.declared_outer |= set(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            module = alias.name if alias.asname else alias.name.partition(".")[0]
            self._import(alias.asname or module, Import(module, None, 0, alias.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        for alias in node.names:
            self._import(alias.asname or alias.name, Import(module, alias.name, node.level, module))

    def _import(self, name: str, spec: Import) -> None:
        self.scope.bound.add(name)
        self.scope.imports.setdefault(name, set()).add(spec)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.bind(node.rest)
        self.generic_visit(node)

    def visit_TypeAlias(self, node: ast.AST) -> None:
        self.bind(node.name.id)  # type: ignore[attr-defined]
