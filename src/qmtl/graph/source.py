"""The source of a live function, proven to be its source.

A file may have been edited since it was imported, a module reloaded, a function replaced. So the file is
compiled again, and a definition counts only when it compiles to the very bytecode that is running.
"""

from __future__ import annotations
import __future__

import ast
import linecache
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from qmtl.errors import UnhashableCodeError
from qmtl.graph.canonical import canonical
from qmtl.graph.syntax import FunctionNode

_FUTURE = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
_NO_SOURCE_HINT = (
    'define it in a file or a notebook cell, as a module-level function, or pin the identity by hand with version="…"'
)


@dataclass(frozen=True)
class _Candidate:
    """One function of a file: its syntax, its line, and the code that it compiles to now."""

    node: FunctionNode
    line: int
    shape: tuple[object, ...]


_files: dict[tuple[str, int], tuple[str, list[_Candidate] | None]] = {}
_found: dict[int, tuple[CodeType, FunctionNode]] = {}


def definition(code: CodeType, module: dict[str, Any]) -> FunctionNode:
    """Return the syntax of the function that a code object was compiled from.

    Parameters
    ----------
    code : CodeType
        Code of a live function.
    module : dict
        Its globals, for sources that a loader keeps (a zip file).

    Raises
    ------
    UnhashableCodeError
        If there is no source, or if it is not the source of this code any more.
    """
    known = _found.get(id(code))
    if known is not None:
        return known[1]
    place = f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
    candidates = _candidates(code, module)
    if candidates is None:
        raise UnhashableCodeError(f"{place}: its source is not available", hint=_NO_SOURCE_HINT)
    shape = _shape(code)
    equal = [candidate for candidate in candidates if candidate.shape == shape]
    if not equal:
        raise UnhashableCodeError(
            f"{place}: the running code is not what its source says",
            hint="the file was edited after it was imported, or a tool rewrote the code: import it again",
        )
    best = next((c for c in equal if c.line == code.co_firstlineno), equal[0])
    _found[id(code)] = (code, best.node)  # the code is kept, so that its id stays its own
    return best.node


def _candidates(code: CodeType, module: dict[str, Any]) -> list[_Candidate] | None:
    linecache.checkcache(code.co_filename)
    source = "".join(linecache.getlines(code.co_filename, module))
    flags = code.co_flags & _FUTURE
    known = _files.get((code.co_filename, flags))
    if known is None or known[0] != source:
        known = _files[code.co_filename, flags] = (source, _compile(source, code.co_filename, flags))
    return known[1]


def _compile(source: str, filename: str, flags: int) -> list[_Candidate] | None:
    if not source:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler has said them when the file was imported
        for extra in (0, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):  # notebooks await outside of functions
            try:
                tree = compile(source, filename, "exec", flags | extra | ast.PyCF_ONLY_AST, True)
                assert isinstance(tree, ast.Module)
                return list(_functions(tree, filename, flags | extra))
            except (SyntaxError, ValueError):
                continue
    return None


def _functions(tree: ast.Module, filename: str, flags: int) -> Iterator[_Candidate]:
    """Compile a tree and pair each function in it with its code."""
    places: dict[tuple[int, str], ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            places[min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.name] = node
    for code in _inside(compile(tree, filename, "exec", flags, True)):
        definition = places.get((code.co_firstlineno, code.co_name))
        if definition is not None:
            yield _Candidate(definition, code.co_firstlineno, _shape(code))
    for group in _lambdas(tree):
        yield from _lambda_shapes(tree, group, filename, flags)


def _lambdas(tree: ast.Module) -> list[list[ast.Lambda]]:
    """Return the lambdas of a tree by depth: those inside no lambda, those inside one, and so on."""
    groups: list[list[ast.Lambda]] = []
    level: list[ast.AST] = [tree]
    while level:
        group: list[ast.Lambda] = []
        stack = [child for node in reversed(level) for child in ast.iter_child_nodes(node)]
        while stack:
            node = stack.pop()
            if isinstance(node, ast.Lambda):
                group.append(node)
            else:
                stack.extend(ast.iter_child_nodes(node))
        groups.append(group)
        level = [*group]
    return groups[:-1]


def _lambda_shapes(tree: ast.Module, group: list[ast.Lambda], filename: str, flags: int) -> Iterator[_Candidate]:
    """Pair lambdas with their code, however many share a line: each is moved to lines of its own.

    Columns would tell them apart, but constants have none in Python 3.12, and Python can be told to drop
    them. Lines inside a lambda keep their distances, because those decide what the compiler makes.
    """
    step = 1 + max((getattr(node, "end_lineno", 0) for node in ast.walk(tree)), default=0)
    for number, node in enumerate(group, start=1):
        _move(node, number * step)
    code = compile(tree, filename, "exec", flags, True)
    for number, node in enumerate(group, start=1):
        _move(node, -number * step)
    seen = {0}
    for inner in _inside(code):
        number, line = divmod(inner.co_firstlineno, step)
        if inner.co_name == "<lambda>" and number not in seen:  # lambdas inside it come after it
            seen.add(number)
            yield _Candidate(group[number - 1], line, _shape(inner))


def _move(node: ast.Lambda, lines: int) -> None:
    """Move a lambda without its defaults, which the code around it evaluates."""
    node.lineno += lines
    node.end_lineno = (node.end_lineno or node.lineno) + lines
    ast.increment_lineno(node.body, lines)


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)


def _shape(code: CodeType) -> tuple[object, ...]:
    """Return everything that decides what a code object does; lines and columns do not."""
    return (
        code.co_qualname,
        code.co_code,
        tuple(_shape(c) if isinstance(c, CodeType) else canonical(c) for c in code.co_consts),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_flags,
        code.co_exceptiontable,
    )
