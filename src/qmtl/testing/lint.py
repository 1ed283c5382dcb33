"""Rules for what makes a strategy hard to trust, found without running it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from qmtl.errors import LoweringError, UnhashableCodeError
from qmtl.graph.lowering import check_lowering
from qmtl.graph.node import Node, StreamInput
from qmtl.graph.source import definition
from qmtl.sdk.strategy import Built, Strategy

#: Calls whose result is another one next time, by the last names of the chain.
_IMPURE = {
    "random": "draws random numbers",
    "time.time": "reads the clock",
    "time.time_ns": "reads the clock",
    "time.localtime": "reads the clock",
    "datetime.now": "reads the clock",
    "datetime.utcnow": "reads the clock",
    "date.today": "reads the clock",
    "Timestamp.now": "reads the clock",
    "uuid.uuid4": "draws random numbers",
    "read_csv": "reads a file",
    "read_parquet": "reads a file",
    "read_text": "reads a file",
    "write_text": "writes a file",
    "requests.get": "goes to the network",
    "urlopen": "goes to the network",
    "os.environ": "reads the environment",
    "os.getenv": "reads the environment",
}
#: The same for names that stand alone: ``bar.open`` is no file.
_IMPURE_NAMES = {"open": "reads or writes a file", "input": "asks the user"}


@dataclass(frozen=True)
class Finding:
    """One breach of a rule: which, at which node, what, and the remedy."""

    rule: str
    node: str
    message: str
    hint: str


def lint(strategy: type[Strategy]) -> list[Finding]:
    """Return the findings of all rules.

    QM001 ids follow from the lowered graph · QM002 code can be identified · QM101 functions are pure · QM102 functions
    keep no mutable state · QM201 every node is used · QM202 streams have a name to bind data to.
    """
    try:
        built = strategy.build()
    except UnhashableCodeError as error:
        return [Finding("QM002", strategy.__name__, error.message, error.hint or "")]
    found = [finding for rule in _RULES for finding in rule(built)]
    return sorted(found, key=lambda finding: (finding.rule, finding.node))


def _ids(built: Built) -> Iterator[Finding]:
    try:
        check_lowering(built.dag)
    except LoweringError as error:
        yield Finding("QM001", "(the graph)", error.message, error.hint or "")


def _impurities(built: Built) -> Iterator[Finding]:
    for node in built.dag.nodes:
        fn = getattr(node, "compute_fn", None)
        for chain in dict.fromkeys(_chains(fn)) if fn is not None else ():
            what = _impurity(chain)
            if what is not None:
                hint = "pass it in as a stream or config=, or mark the node impure=True: it is never shared"
                yield Finding("QM101", _label(node), f"its function {what} ({'.'.join(chain)})", hint)


def _impurity(chain: tuple[str, ...]) -> str | None:
    if len(chain) == 1 and chain[0] in _IMPURE_NAMES:
        return _IMPURE_NAMES[chain[0]]
    return next((what for pattern, what in _IMPURE.items() if _matches(chain, pattern)), None)


def _matches(chain: tuple[str, ...], pattern: str) -> bool:
    wanted = tuple(pattern.split("."))
    return chain[-len(wanted) :] == wanted or (len(wanted) == 1 and pattern == "random" and "random" in chain[:-1])


def _chains(fn: Callable[..., Any]) -> Iterator[tuple[str, ...]]:
    """Return the chains of attributes in the source of a function: ``("np", "random", "rand")``."""
    function: Any = inspect.unwrap(getattr(fn, "__func__", fn))
    try:
        tree = definition(function.__code__, function.__globals__)
    except (AttributeError, UnhashableCodeError):
        return  # compiled, or vouched for with version=
    inner: set[int] = set()
    for node in ast.walk(tree):  # from the outside in: a chain comes before its parts
        if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in inner:
            chain: list[str] = []
            at: ast.expr = node
            while isinstance(at, ast.Attribute):
                chain.append(at.attr)
                at = at.value
                inner.add(id(at))
            if isinstance(at, ast.Name):
                yield (at.id, *reversed(chain))


def _mutable_state(built: Built) -> Iterator[Finding]:
    for node in built.dag.nodes:
        fn = inspect.unwrap(getattr(node, "compute_fn", None) or len)
        code = getattr(fn, "__code__", None)
        if code is None:
            continue
        cells = zip(code.co_freevars, getattr(fn, "__closure__", None) or (), strict=False)
        held = {name: cell.cell_contents for name, cell in cells} | {
            name: fn.__globals__[name] for name in code.co_names if name in fn.__globals__
        }
        for name, value in held.items():
            if isinstance(value, (list, dict, set, bytearray)):
                message = f"its function refers to {name!r}, a {type(value).__name__} that can change"
                yield Finding("QM102", _label(node), message, "use a tuple, a frozenset or a mappingproxy")


def _unused(built: Built) -> Iterator[Finding]:
    readers = built.dag.readers()
    named = set(built.dag.names.values())
    for node in built.dag.nodes:
        if not readers[node.node_id] and node.node_id not in named:
            yield Finding("QM201", _label(node), "nobody reads it and it has no name", "name it, or leave it out")


def _unbindable(built: Built) -> Iterator[Finding]:
    named = set(built.dag.names.values())
    for stream in built.dag.streams:
        if stream.node_id not in named and stream.history_provider is None:
            yield Finding("QM202", _label(stream), "the stream has neither a name nor a history", 'name="price"')


def _label(node: Node) -> str:
    return node.name or (node.node_type if isinstance(node, StreamInput) else repr(node))


_RULES = (_ids, _impurities, _mutable_state, _unused, _unbindable)
