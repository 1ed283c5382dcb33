"""Upstreams of tag queries in a live run: queues of other strategies, which come and go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmtl.graph.dag import Dag
from qmtl.graph.node import Node, StreamInput, TagQueryNode
from qmtl.sdk.strategy import Built
from qmtl.wire.client import GatewayClient


class QueueNode(StreamInput):
    """A node that other runners compute: all that is known of it is its queue.

    Parameters
    ----------
    node_id, topic : str
        Its content address, and where its records are.
    tags : iterable of str
        Its tags.
    interval : int
        Seconds of its buckets.

    Examples
    --------
    >>> QueueNode("ab12", "btc_sma_ab12_v1", ["momentum"], 60).node_id
    'ab12'
    """

    node_type = "QueueNode"

    def __init__(self, node_id: str, topic: str, tags: Iterable[str], interval: int) -> None:
        super().__init__(tags, interval)
        self.topic = topic
        self.__dict__["node_id"] = node_id  # its definition is elsewhere

    @property
    def label(self) -> str:
        """Its topic."""
        return self.topic


@dataclass(frozen=True)
class Resolved:
    """A graph in which tag queries have the upstreams of a moment.

    Attributes
    ----------
    dag : Dag
        Of all strategies; without nodes that have no upstream yet, and what depends on them.
    queues : tuple of QueueNode
        Those of others that are read.
    idle : frozenset of str
        Ids of nodes that wait for a first upstream, or for one that does.
    varying : frozenset of str
        Ids of tag queries, their readers, and what depends on them: their upstreams may change.
    """

    dag: Dag
    queues: tuple[QueueNode, ...]
    idle: frozenset[str]
    varying: frozenset[str]


def queries(strategies: Iterable[Built]) -> list[TagQueryNode]:
    """Return the tag queries of strategies, each once."""
    found: dict[str, TagQueryNode] = {}
    for built in strategies:
        for node in built.dag.nodes:
            for one in (node, *(edge.node for edge in node.inputs)):
                if isinstance(one, TagQueryNode):
                    found[one.node_id] = one
    return [*found.values()]


def matching(client: GatewayClient, asked: Sequence[TagQueryNode]) -> list[QueueNode]:
    """Return the queues that match tag queries and that somebody uses; errors are those of the Gateway."""
    found: dict[str, QueueNode] = {}
    for query in asked:
        for queue in client.queues_by_tag(query.query_tags, query.interval, query.match_mode):
            if _is_alive(queue):
                node = QueueNode(queue["node_id"], queue["topic"], queue["tags"], queue["interval"])
                found.setdefault(node.node_id, node)
    return [*found.values()]


def _is_alive(queue: Mapping[str, Any]) -> bool:
    """Whether a queue is everybody's, and a strategy uses it: else nothing more comes of it."""
    return queue["strategies"] > 0 and not str(queue["domain"]).startswith("private:")


def resolved(strategies: Sequence[Built], queues: Iterable[QueueNode]) -> Resolved:
    """Return the graph of strategies with some queues of others as upstreams of their tag queries."""
    own = {node.node_id for built in strategies for node in built.dag.nodes}
    others = sorted((one for one in queues if one.node_id not in own), key=lambda one: one.node_id)
    roots = [root for built in strategies for root in built.roots]
    whole = Dag.union([Dag.of(built.roots, [*roots, *others]) for built in strategies])
    idle = _below(whole, (node.node_id for node in whole.nodes if _is_without_input(whole, node)))
    varying = _below(whole, _readers_of_queries(whole))
    kept = tuple(node for node in whole.nodes if node.node_id not in idle)
    inputs = {node.node_id: whole.inputs[node.node_id] for node in kept}
    names = {name: identifier for name, identifier in whole.names.items() if identifier not in idle}
    read = tuple(node for node in kept if isinstance(node, QueueNode))
    return Resolved(Dag(kept, inputs, names), read, frozenset(idle), frozenset(varying))


def told(queues: Iterable[QueueNode]) -> str:
    """Return queues as the record of a run tells them; :func:`queues_of` reads it."""
    return json.dumps([(one.node_id, one.topic, sorted(one.tags), one.interval) for one in queues])


def queues_of(text: str) -> list[QueueNode]:
    """Return the queues that :func:`told` told.

    Examples
    --------
    >>> queues_of(told([QueueNode("ab12", "btc_sma_ab12_v1", ["momentum"], 60)]))[0].topic
    'btc_sma_ab12_v1'
    """
    return [QueueNode(*one) for one in json.loads(text)]


def _is_without_input(dag: Dag, node: Node) -> bool:
    return not isinstance(node, StreamInput) and all(edge.node is None for edge in dag.inputs[node.node_id])


def _readers_of_queries(dag: Dag) -> Iterator[str]:
    for node in dag.nodes:
        if isinstance(node, TagQueryNode) or any(isinstance(edge.node, TagQueryNode) for edge in node.inputs):
            yield node.node_id


def _below(dag: Dag, first: Iterable[str]) -> set[str]:
    """Return nodes and everything that depends on them."""
    found = set(first)
    for node in dag.nodes:  # inputs come first
        if any(edge.node is not None and edge.node.node_id in found for edge in dag.inputs[node.node_id]):
            found.add(node.node_id)
    return found
