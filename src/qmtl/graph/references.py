"""What a function refers to outside itself, read from its syntax.

Scopes are resolved here, not by the bytecode, because the compiler drops branches that it knows to be
dead, inlines comprehensions, and does both differently from one Python to the next.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from qmtl.graph.scopes import (
    Binder,
    Comprehension,
    Definition,
    Import,
    Scope,
    arguments,
    evaluated_outside,
    home,
)
from qmtl.graph.syntax import FunctionNode

Chain = tuple[str, ...]

#: Attributes that show code, frames or namespaces: what is read through them cannot be followed.
HIDDEN = frozenset(
    [
        "__annotations__",
        "__annotate__",
        "__builtins__",
        "__cached__",
        "__closure__",
        "__code__",
        "__doc__",
        "__file__",
        "__globals__",
        "__loader__",
        "__path__",
        "__spec__",
        "__subclasses__",
        "__type_params__",
        "f_back",
        "f_builtins",
        "f_code",
        "f_globals",
        "f_locals",
        "tb_frame",
        "gi_frame",
        "gi_code",
        "cr_frame",
        "cr_code",
        "ag_frame",
        "ag_code",
    ]
)
#: Attributes that show names and hints, which a fingerprint leaves out unless somebody reads them.
NAMING = frozenset({"__name__", "__qualname__", "__module__", "__dict__", "__dataclass_fields__"})
#: Methods that look up names of their caller inside a string.
_QUERIES = frozenset({"query", "eval"})


@dataclass
class Use:
    """How one outside name is used: the attribute chains read from it, ``()`` for the bare name."""

    chains: set[Chain] = field(default_factory=set)
    written: set[Chain] = field(default_factory=set)
    dynamic: set[Chain] = field(default_factory=set)
    nodes: set[int] = field(default_factory=set)


@dataclass
class References:
    """Outside names of a function, the imports inside it, and what forbids to follow it.

    ``maybe`` are names that a class body reads and binds: which one it reads depends on the order.
    """

    free: dict[str, Use] = field(default_factory=dict)
    maybe: dict[str, Use] = field(default_factory=dict)
    imports: dict[Import, Use] = field(default_factory=dict)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    reads_names: bool = False
    asserts: bool = False
    private: bool = False


def references(node: FunctionNode) -> References:
    """Return what a function (in its bare form) refers to: names bound nowhere inside it, with their uses."""
    reader = _Reader()
    reader.function(node)
    _inspect(node, reader.found)
    return reader.found


def _inspect(node: FunctionNode, found: References) -> None:
    """Note what does not depend on scopes: introspection, queries in strings, asserts, private names."""
    plain_queries: set[int] = set()
    for part in ast.walk(node):
        for name in _identifiers(part):
            found.private |= name.startswith("__") and not name.endswith("__")
            found.reads_names |= name in NAMING
            if name in HIDDEN:
                found.refusals.append((f"reads {name!r}", "take what you need from arguments or constants"))
        found.asserts |= isinstance(part, ast.Assert)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.args:
            query = part.args[0]
            if isinstance(query, ast.Constant) and "@" not in str(query.value):
                plain_queries.add(id(part.func))
        if isinstance(part, ast.Attribute) and part.attr in _QUERIES and id(part) not in plain_queries:
            why = f"{part.attr}() may look up names inside a string"
            found.refusals.append((why, 'write the condition in Python, for example df[df["close"] > limit]'))


def _identifiers(node: ast.AST) -> Iterator[str]:
    for name in ("id", "attr", "arg", "name", "rest", "value"):
        value = getattr(node, name, None)
        if isinstance(value, str):
            yield value


class _Reader(ast.NodeVisitor):
    """Walks a function, scope by scope, and notes every name that none of its scopes binds."""

    def __init__(self) -> None:
        self.found = References()
        self.scope: Scope | None = None

    def function(self, node: Definition) -> None:
        """Read one definition in a scope of its own."""
        kind: Literal["class", "function"] = "class" if isinstance(node, ast.ClassDef) else "function"
        scope = Scope(kind, self._type_scope(node))
        binder = Binder(scope)
        if not isinstance(node, ast.ClassDef):
            for argument in arguments(node.args):
                binder.bind(argument.arg)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        for statement in body:
            binder.visit(statement)
        self._declarations(scope)
        outer, self.scope = self.scope, scope
        for statement in body:
            self.visit(statement)
        self.scope = outer

    def _type_scope(self, node: Definition) -> Scope | None:
        """Return the scope around a definition: that of its type parameters, where it has some."""
        parameters: list[ast.AST] = getattr(node, "type_params", [])
        if not parameters:
            return self.scope
        names = {str(getattr(parameter, "name", "")) for parameter in parameters}
        inner = Scope("function", self.scope, bound=names, other=names)
        outer, self.scope = self.scope, inner
        for parameter in parameters:
            self.generic_visit(parameter)
        self.scope = outer
        return inner

    def _declarations(self, scope: Scope) -> None:
        hint = "return the value, or pin the identity by hand with version=…"
        for name in sorted(scope.declared_global & scope.bound):
            self.found.refusals.append((f"writes to the global {name!r}", hint))
        for name in sorted(scope.declared_outer & scope.bound):
            if home(name, scope.outer) is None:
                self.found.refusals.append((f"writes to {name!r} of the function around it", hint))
        for name, specs in scope.imports.items():
            for spec in sorted(specs, key=str):
                self.found.imports.setdefault(spec, Use())
            if name in scope.other:
                self.found.refusals.append((f"binds {name!r} by an import and otherwise", "use two names"))
        scope.bound -= scope.declared_global | scope.declared_outer

    def visit_FunctionDef(self, node: Definition) -> None:
        for part in evaluated_outside(node):
            self.visit(part)
        self.function(node)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_ListComp(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        scope = Scope("function", self.scope)
        for generator in node.generators:
            Binder(scope).visit(generator.target)
        outer, self.scope = self.scope, scope
        for generator in node.generators:
            for part in (generator.target, *generator.ifs, generator.iter):
                if part is not node.generators[0].iter:
                    self.visit(part)
        for element in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.visit(element)
        self.scope = outer

    visit_SetComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp
    visit_DictComp = visit_ListComp

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use(node, ())
            if node.id == "getattr" and home(node.id, self.scope) is None:
                hint = "write the attribute, or call getattr(object, name) directly"
                self.found.refusals.append(("uses getattr as a value", hint))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        root, chain = self._unwind(node)
        if isinstance(root, ast.Name):
            self._use(root, chain, written=not isinstance(node.ctx, ast.Load))
        else:
            self.visit(root)

    def visit_Call(self, node: ast.Call) -> None:
        if not self._is_getattr(node):
            self.generic_visit(node)
            return
        root, chain = self._unwind(node)
        if root is node:  # the name of the attribute is not a literal
            self._getattr(node)
            root, chain = self._unwind(node.args[0])
            if isinstance(root, ast.Name):
                self._use(root, chain, dynamic=True)
            else:
                self.visit(root)
        elif isinstance(root, ast.Name):
            self._use(root, chain)
        else:
            self.visit(root)

    def _is_getattr(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
            return False
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        direct = node.func.id == "getattr" and len(node.args) in (2, 3) and not starred
        return direct and home("getattr", self.scope) is None

    def _getattr(self, node: ast.Call) -> None:
        """Note the use of getattr itself and of its arguments beyond the object."""
        assert isinstance(node.func, ast.Name)
        self._use(node.func, ())
        for argument in node.args[1:]:
            self.visit(argument)

    def _unwind(self, node: ast.expr) -> tuple[ast.expr, Chain]:
        """Return the expression that a chain of attributes starts from, and the chain."""
        chain: list[str] = []
        while True:
            if isinstance(node, ast.Attribute):
                chain.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Call) and self._is_getattr(node):
                name = node.args[1]
                if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                    break
                self._getattr(node)
                chain.append(name.value)
                node = node.args[0]
            else:
                break
        return node, tuple(reversed(chain))

    def _use(self, node: ast.Name, chain: Chain, *, written: bool = False, dynamic: bool = False) -> None:
        place = home(node.id, self.scope)
        for use in self._uses(node.id, place):
            use.chains.add(chain)
            use.nodes.add(id(node))
            if written:
                use.written.add(chain)
            if dynamic:
                use.dynamic.add(chain)

    def _uses(self, name: str, place: Scope | None) -> list[Use]:
        if place is None:
            return [self.found.free.setdefault(name, Use())]
        if name in place.imports:
            return [self.found.imports.setdefault(spec, Use()) for spec in place.imports[name]]
        if place.kind == "class":
            return [self.found.maybe.setdefault(name, Use())]
        return []
