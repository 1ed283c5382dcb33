"""What a function refers to outside itself, read from its syntax.

Scopes are resolved here, not by the bytecode, because the compiler drops branches that it knows to be
dead, inlines comprehensions, and does both differently from one Python to the next.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Literal

from qmtl.graph.syntax import FunctionNode

Chain = tuple[str, ...]

#: Attributes that show code, frames or namespaces: what is read through them cannot be followed.
HIDDEN = frozenset(
    """__annotations__ __bases__ __builtins__ __cached__ __closure__ __code__ __defaults__ __doc__ __file__
    __getattribute__ __globals__ __kwdefaults__ __loader__ __mro__ __path__ __spec__ __subclasses__ __wrapped__
    mro __base__ __annotate__ __type_params__ __init_subclass__ __reduce__ __reduce_ex__ __getstate__
    f_back f_builtins f_code f_globals f_locals tb_frame gi_frame gi_code cr_frame cr_code ag_frame ag_code
    """.split()
)
#: Attributes that show names, which are left out of a fingerprint unless somebody reads them.
NAMING = frozenset({"__name__", "__qualname__", "__module__", "__dict__"})
#: Methods that look for names of the caller inside a string.
_QUERIES = frozenset({"query", "eval"})
_FREE_HINT = "pass the value as a default argument or a closure value, or use a module-level constant"


@dataclass
class Use:
    """How one outside name is used: the attribute chains read from it, ``()`` for the bare name."""

    chains: set[Chain] = field(default_factory=set)
    written: set[Chain] = field(default_factory=set)
    nodes: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Import:
    """A module imported inside a function: ``from module import name`` or ``import module``."""

    module: str
    name: str | None
    level: int


@dataclass
class References:
    """Outside names of a function, imports inside it, and what forbids to follow it."""

    free: dict[str, Use] = field(default_factory=dict)
    maybe: set[str] = field(default_factory=set)
    imports: dict[Import, set[Chain]] = field(default_factory=dict)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    reads_names: bool = False
    asserts: bool = False
    private: bool = False


@dataclass(eq=False)
class _Scope:
    kind: Literal["function", "class"]
    outer: _Scope | None
    bound: set[str] = field(default_factory=set)
    declared_global: set[str] = field(default_factory=set)
    declared_outer: set[str] = field(default_factory=set)
    imports: dict[str, set[Import]] = field(default_factory=dict)
    other: set[str] = field(default_factory=set)


def references(node: FunctionNode) -> References:
    """Return what a function (in its bare form) refers to.

    Returns
    -------
    References
        ``free`` maps each name that is bound nowhere inside the function to its uses.
    """
    reader = _Reader()
    reader.function(node)
    return reader.found


class _Binder(ast.NodeVisitor):
    """Collects the names that one scope binds; does not enter the scopes inside it."""

    def __init__(self, scope: _Scope) -> None:
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
        for part in _evaluated_outside(node):
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in _evaluated_outside(node):
            self.visit(part)

    def visit_ListComp(self, node: _Comprehension) -> None:
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
            whole = Import(alias.name, None, 0)
            top = whole if alias.asname else Import(alias.name.partition(".")[0], None, 0)
            self._import(alias.asname or top.module, {top, whole} if not alias.asname else {whole})

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._import(alias.asname or alias.name, {Import(node.module or "", alias.name, node.level)})

    def _import(self, name: str, specs: set[Import]) -> None:
        self.scope.bound.add(name)
        self.scope.imports.setdefault(name, set()).update(specs)

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


_Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


def _evaluated_outside(node: _Definition) -> list[ast.AST]:
    """Return the parts of a definition that its surrounding scope evaluates."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    parts: list[ast.AST] = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
    if not isinstance(node, ast.Lambda):
        parts += [*node.decorator_list, *_annotations(node)]
    return parts


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.AST]:
    found = [a.annotation for a in _arguments(node.args)] + [node.returns]
    return [annotation for annotation in found if annotation is not None]


def _arguments(args: ast.arguments) -> list[ast.arg]:
    rest = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]


class _Reader(ast.NodeVisitor):
    """Walks the function, scope by scope, and notes every name that none of its scopes binds."""

    def __init__(self) -> None:
        self.found = References()
        self.scope: _Scope | None = None

    def function(self, node: _Definition) -> None:
        """Read one definition in a scope of its own."""
        kind: Literal["class", "function"] = "class" if isinstance(node, ast.ClassDef) else "function"
        outer, self.scope = self.scope, _Scope(kind, self._type_scope(node))
        binder = _Binder(self.scope)
        if not isinstance(node, ast.ClassDef):
            for argument in _arguments(node.args):
                binder.bind(argument.arg)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        for statement in body:
            binder.visit(statement)
        self._declared(self.scope)
        for statement in body:
            self.visit(statement)
        self.scope = outer

    def _type_scope(self, node: _Definition) -> _Scope | None:
        parameters = getattr(node, "type_params", [])
        if not parameters:
            return self.scope
        names = {parameter.name for parameter in parameters}
        outer, self.scope = self.scope, _Scope("function", self.scope, bound=names, other=names)
        for parameter in parameters:
            self.generic_visit(parameter)
        inner, self.scope = self.scope, outer
        return inner

    def _declared(self, scope: _Scope) -> None:
        for name in sorted(scope.declared_global & scope.bound):
            self._refuse(f"writes to the global {name!r}", "return the value, or keep it in the node's view")
        for name in sorted(scope.declared_outer):
            if self._home(name, scope.outer) is None and name in scope.bound:
                self._refuse(f"writes to {name!r} of the function around it", "return the value instead")
        scope.bound -= scope.declared_global | scope.declared_outer

    def _home(self, name: str, scope: _Scope | None) -> _Scope | None:
        """Return the scope that binds a name, seen from the inside of another."""
        first = True
        while scope is not None:
            if name in scope.declared_global:
                return None
            if name in scope.bound and (first or scope.kind == "function"):
                return scope
            scope, first = scope.outer, False
        return None

    def _refuse(self, why: str, hint: str = _FREE_HINT) -> None:
        self.found.refusals.append((why, hint))

    # -- definitions -----------------------------------------------------------------------------

    def visit_FunctionDef(self, node: _Definition) -> None:
        for part in _evaluated_outside(node):
            self.visit(part)
        if not isinstance(node, ast.Lambda):
            self._private(node.name)
        self.function(node)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_ListComp(self, node: _Comprehension) -> None:
        self.visit(node.generators[0].iter)
        outer, self.scope = self.scope, _Scope("function", self.scope)
        binder = _Binder(self.scope)
        for generator in node.generators:
            binder.visit(generator.target)
        for generator in node.generators:
            for part in (generator.target, *generator.ifs, generator.iter):
                if part is not node.generators[0].iter:
                    self.visit(part)
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for element in elements:
            self.visit(element)
        self.scope = outer

    visit_SetComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp
    visit_DictComp = visit_ListComp
