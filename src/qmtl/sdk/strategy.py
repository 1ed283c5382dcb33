"""Strategies: named nodes and what to trade on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qmtl.errors import BuildError, DuplicateNameError, unknown_name
from qmtl.graph.dag import Dag
from qmtl.graph.expression import Field
from qmtl.graph.node import Node

if TYPE_CHECKING:
    from qmtl.trading.costs import Costs


@dataclass(frozen=True)
class Execution:
    """What a strategy trades and at which cost.

    Attributes
    ----------
    targets : tuple[str, ...]
        Names of nodes; trade nodes among them are simulated.
    costs : Costs or None
        Fees, slippage and rounding; none by default.
    cash : float
        Money at the start, in the quote currency.
    """

    targets: tuple[str, ...] = ()
    costs: Costs | None = None
    cash: float = 100_000.0


@dataclass(frozen=True)
class Built:
    """A strategy after ``setup`` and ``define_execution``: pure data."""

    name: str
    dag: Dag
    execution: Execution
    roots: tuple[Node, ...] = field(repr=False, default=())


class Strategy:
    """Base class of strategies: override :meth:`setup`, and :meth:`define_execution` to trade.

    Examples
    --------
    >>> from qmtl.indicators import sma
    >>> from qmtl.sdk import Strategy, StreamInput
    >>> class Mean(Strategy):
    ...     def setup(self):
    ...         price = StreamInput(tags=["BTC"], interval="1m", name="price")
    ...         self.add_nodes([price, sma(price.close, 20, name="mean")])
    >>> sorted(Mean().build().dag.names)
    ['mean', 'price']
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._execution = Execution()

    def setup(self) -> None:
        """Create the nodes and add them with :meth:`add_nodes`."""
        raise BuildError(
            f"strategy {type(self).__name__!r} has no setup()", hint="def setup(self): self.add_nodes([…])"
        )

    def define_execution(self) -> None:
        """Say what to trade with :meth:`set_target`; a strategy without targets only computes."""

    def add_nodes(self, nodes: Iterable[Node] | Node) -> None:
        """Add nodes; what is upstream of them comes along.

        Raises
        ------
        BuildError
            Something that is not a node.
        """
        for given in [nodes] if isinstance(nodes, (Node, Field)) else nodes:
            node = given.node if isinstance(given, Field) else given
            if not isinstance(node, Node):
                raise BuildError(f"{node!r} is not a node", hint="pass nodes to add_nodes([…])")
            if any(known is node for known in self._nodes):
                raise DuplicateNameError(f"node {node.label!r} is added twice", hint="add it once")
            self._nodes.append(node)

    def set_target(self, *names: str | Node, costs: Costs | None = None, cash: float = 100_000.0) -> None:
        """Name the nodes that decide what is traded.

        Parameters
        ----------
        *names : str or Node
            Nodes of this strategy; those made by ``target_position`` or ``target_weight`` trade.
        costs : Costs, optional
            Fees, slippage and rounding.
        cash : float
            Money at the start, in the quote currency.
        """
        if not cash > 0:
            raise BuildError(f"cash is {cash!r}", hint="start with a positive amount")
        wanted = tuple(name.label if isinstance(name, Node) else name for name in names)
        self._execution = Execution(wanted, costs, float(cash))

    @classmethod
    def build(cls, known: Sequence[Node] = ()) -> Built:
        """Run ``setup`` and ``define_execution`` of a fresh instance and return the graph.

        Raises
        ------
        BuildError
            An empty strategy, a duplicate name, a cycle, an unknown target; names the node.
        """
        strategy = cls()
        strategy.setup()
        strategy.define_execution()
        dag = Dag.of(strategy._nodes, known)
        for target in strategy._execution.targets:
            if target not in dag.labels().values() and target not in dag.names:
                raise unknown_name(f"target of strategy {cls.__name__}", target, dag.names)
        return Built(cls.__name__, dag, strategy._execution, tuple(strategy._nodes))


def build_all(strategies: Sequence[type[Strategy]]) -> list[Built]:
    """Build strategies that run in one process: tag queries of each see the nodes of all."""
    alone = [strategy.build() for strategy in strategies]
    if len(alone) == 1:
        return alone
    everything = [root for built in alone for root in built.roots]
    return [strategy.build(everything) for strategy in strategies]
