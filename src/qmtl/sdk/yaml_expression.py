"""Expressions over nodes as text: ``fast > sma(price.close, 50)``, by Python's grammar and nothing else of Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from qmtl.errors import BuildError, unknown_name
from qmtl.graph.expression import is_node
from qmtl.graph.node import Node
from qmtl.graph.operator import REGISTRY

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.Invert: operator.invert}


def evaluate(text: str, nodes: Mapping[str, Node], *, name: str) -> Node:
    """Return the node that an expression over named nodes builds.

    Raises
    ------
    BuildError
        Not an expression, or one that uses more than fields, arithmetic, comparisons, ``& | ~`` and operators.

    Examples
    --------
    >>> from qmtl.sdk import StreamInput
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> evaluate("price.close > 2 * sma(price.close, 20)", {"price": price}, name="up").inputs[1].field
    'close'
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise BuildError(f"{text!r} is not an expression: {error.msg}", hint="fast > sma(price.close, 50)") from None
    made = _build(tree, nodes, text)
    if not is_node(made) or made in nodes.values():
        raise BuildError(f"{text!r} does not build a node", hint="use an operator or a comparison")
    made.name = name
    return made


def _build(tree: ast.AST, nodes: Mapping[str, Node], text: str) -> Any:
    match tree:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            if name not in nodes:
                raise unknown_name("node", name, nodes)
            return nodes[name]
        case ast.Attribute(value=value, attr=field):
            return _build(value, nodes, text)[field]
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _BINARY[type(sign)](_build(left, nodes, text), _build(right, nodes, text))
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _BINARY:
            return _BINARY[type(sign)](_build(left, nodes, text), _build(right, nodes, text))
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            return _UNARY[type(sign)](_build(operand, nodes, text))
        case ast.Call(func=ast.Name(id=called), args=args, keywords=keywords):
            if called not in REGISTRY:
                raise unknown_name("operator", called, REGISTRY)
            named = {str(word.arg): _build(word.value, nodes, text) for word in keywords}
            return REGISTRY[called](*(_build(arg, nodes, text) for arg in args), **named)
    raise BuildError(
        f"{ast.unparse(tree)!r} in {text!r} is not understood",
        hint="use fields, numbers, + - * / < <= > >= & | ~ and operators such as sma(price.close, 20)",
    )
