"""Execution nodes: from a signal to what should be held.

The node emits the target; an order router turns changes of the target into orders. The back-test's
router is the simulated exchange of :mod:`qmtl.trading`; others come with paper and live trading.
"""

from __future__ import annotations

import math
from typing import Any

from qmtl.errors import BuildError
from qmtl.graph.expression import Field
from qmtl.graph.node import Node, StreamInput
from qmtl.graph.operator import Param, operator
from qmtl.graph.operator_node import OperatorNode

#: Operator name to what the target means.
TARGET_KINDS = {"target_position": "position", "target_weight": "weight"}


@operator(kind="pointwise", inputs=("signal", "price"), params={"size": Param(float, 1.0)}, name="target_position")
def _position(x: tuple[float, ...], p: tuple[float, ...]) -> float:
    """Units to hold: signal times size; NaN keeps what is held."""
    return x[0] * p[0] if not math.isnan(x[1]) else math.nan


@operator(kind="pointwise", inputs=("signal", "price"), params={"weight": Param(float, 1.0)}, name="target_weight")
def _weight(x: tuple[float, ...], p: tuple[float, ...]) -> float:
    """Share of equity to hold: signal times weight; NaN keeps what is held."""
    return x[0] * p[0] if not math.isnan(x[1]) else math.nan


def target_position(
    signal: Any, *, price: Node | Field, size: float = 1.0, name: str | None = None, interval: Any = None
) -> OperatorNode:
    """Hold ``signal * size`` units of the traded stream.

    Parameters
    ----------
    signal : Node or Field
        Usually -1, 0 or 1, one for each symbol of the stream; NaN keeps the position.
    price : StreamInput
        What is traded; market orders fill at its next open.
    size : float
        Units for a signal of 1.

    Raises
    ------
    BuildError
        ``price`` is not a stream.

    Examples
    --------
    >>> from qmtl.sdk import StreamInput
    >>> from qmtl.sdk.trade import target_position
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> target_position(price.close > price.open, price=price, name="position").outputs
    ('value',)
    """
    return _position(signal, _traded(price), size, name=name, interval=_interval(signal, interval))


def target_weight(
    signal: Any, *, price: Node | Field, weight: float = 1.0, name: str | None = None, interval: Any = None
) -> OperatorNode:
    """Hold ``signal * weight`` of the equity in the traded stream, rebalanced when the target changes.

    Parameters, errors and notes are those of :func:`target_position`.

    Examples
    --------
    >>> from qmtl.sdk import StreamInput
    >>> from qmtl.sdk.trade import target_weight
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> target_weight(price.close > price.open, price=price, weight=0.5).params
    {'weight': 0.5}
    """
    return _weight(signal, _traded(price), weight, name=name, interval=_interval(signal, interval))


def traded_stream(node: Node) -> StreamInput:
    """Return the stream that a trade node trades."""
    stream = node.inputs[1].node
    assert isinstance(stream, StreamInput)  # _traded looked
    return stream


def is_trade(node: Node) -> bool:
    """Whether a node decides what to hold."""
    return isinstance(node, OperatorNode) and node.operator.name in TARGET_KINDS


def _traded(price: Node | Field) -> Field:
    stream = price.node if isinstance(price, Field) else price
    if not isinstance(stream, StreamInput):
        raise BuildError(f"price={price!r} is not a stream", hint="pass the StreamInput whose bars are traded")
    return stream.close


def _interval(signal: Any, given: Any) -> Any:
    node = signal.node if isinstance(signal, Field) else signal
    return given if given is not None or not isinstance(node, Node) else node.interval
