"""What Python syntax on nodes builds: operators, fields and the edges between nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from qmtl.errors import BuildError, OperatorError

if TYPE_CHECKING:
    from qmtl.graph.node import Node
    from qmtl.graph.operator_node import OperatorNode


class Arithmetic:
    """Python syntax that builds operator nodes: ``a + b``, ``a > b``, ``a & b`` and so on."""

    __slots__ = ()
    __array_ufunc__ = None  # numpy must not try to broadcast over a node

    def _apply(self, operator: str, *args: Any) -> OperatorNode:
        from qmtl.graph.operator import REGISTRY

        if operator not in REGISTRY:
            raise OperatorError(f"operator {operator!r} is not loaded", hint="import qmtl.transforms")
        return REGISTRY[operator](*args)

    def __add__(self, other: Any) -> OperatorNode:
        return self._apply("add", self, other)

    def __radd__(self, other: Any) -> OperatorNode:
        return self._apply("add", other, self)

    def __sub__(self, other: Any) -> OperatorNode:
        return self._apply("subtract", self, other)

    def __rsub__(self, other: Any) -> OperatorNode:
        return self._apply("subtract", other, self)

    def __mul__(self, other: Any) -> OperatorNode:
        return self._apply("multiply", self, other)

    def __rmul__(self, other: Any) -> OperatorNode:
        return self._apply("multiply", other, self)

    def __truediv__(self, other: Any) -> OperatorNode:
        return self._apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> OperatorNode:
        return self._apply("divide", other, self)

    def __neg__(self) -> OperatorNode:
        return self._apply("subtract", 0.0, self)

    def __lt__(self, other: Any) -> OperatorNode:
        return self._apply("less", self, other)

    def __le__(self, other: Any) -> OperatorNode:
        return self._apply("less_equal", self, other)

    def __gt__(self, other: Any) -> OperatorNode:
        return self._apply("less", other, self)

    def __ge__(self, other: Any) -> OperatorNode:
        return self._apply("less_equal", other, self)

    def __and__(self, other: Any) -> OperatorNode:
        return self._apply("both", self, other)

    def __rand__(self, other: Any) -> OperatorNode:
        return self._apply("both", other, self)

    def __or__(self, other: Any) -> OperatorNode:
        return self._apply("either", self, other)

    def __ror__(self, other: Any) -> OperatorNode:
        return self._apply("either", other, self)

    def __invert__(self) -> OperatorNode:
        return self._apply("negate", self)

    def __bool__(self) -> bool:
        raise BuildError(
            f"{self!r} is a node of the graph, not a value: it has no truth while the graph is built",
            hint="use & | ~ instead of and, or, not; and put the condition into a node",
        )


class Field(Arithmetic):
    """One output field of a node: ``price.close`` or ``price["close"]``."""

    __slots__ = ("name", "node")

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name

    def __repr__(self) -> str:
        return f"{self.node.label}.{self.name}"


@dataclass(frozen=True, eq=False)
class Edge:
    """One input of a node: which node, which field (operators), under which key, how many bars.

    A constant of an operator expression is an edge without a node.
    """

    node: Node | None
    field: str | None = None
    key: str | None = None
    period: int = 1
    constant: float | None = None

    def canonical(self) -> dict[str, Any]:
        """Return what of this edge is part of the reader's identity."""
        if self.node is None:
            return {"constant": float(self.constant or 0.0)}
        parts: dict[str, Any] = {"node": self.node.node_id, "period": self.period}
        if self.field is not None:
            parts["field"] = self.field
        if self.key is not None:
            parts["key"] = self.key
        return parts


def is_node(value: object) -> TypeGuard[Node]:
    """Whether a value is a node, rather than a field of one or something else."""
    return isinstance(value, Arithmetic) and not isinstance(value, Field)
