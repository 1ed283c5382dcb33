"""The directed acyclic graph of a strategy: unique nodes in topological order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from qmtl.errors import BuildError, CycleError, DuplicateNameError, unknown_name
from qmtl.graph.expression import Edge
from qmtl.graph.node import Node, StreamInput, TagQueryNode


@dataclass(frozen=True)
class Dag:
    """Nodes by content, every input before its readers.

    Attributes
    ----------
    nodes : tuple[Node, ...]
        One node for each id, in topological order.
    inputs : Mapping[str, tuple[Edge, ...]]
        Resolved inputs by id: a tag query without a function is replaced by what it matches.
    names : Mapping[str, str]
        Name to id; two names may share an id.
    """

    nodes: tuple[Node, ...]
    inputs: Mapping[str, tuple[Edge, ...]]
    names: Mapping[str, str]

    @classmethod
    def of(cls, roots: Iterable[Node], known: Iterable[Node] = ()) -> Dag:
        """Build the graph of nodes and everything upstream of them.

        Parameters
        ----------
        roots : iterable of Node
            What the author added.
        known : iterable of Node
            Other nodes of the process that a tag query may match.

        Raises
        ------
        CycleError, DuplicateNameError, BuildError
            The graph is not one; the message names the node.
        """
        given = list(roots)
        if not given:
            raise BuildError("the strategy has no node", hint="call self.add_nodes([…]) in setup()")
        candidates = _closure([*given, *known], lambda node: [e.node for e in node.inputs if e.node is not None])
        resolved = {id(node): _resolve(node, candidates) for node in candidates}
        ordered = _closure(given, lambda node: [e.node for e in resolved[id(node)] if e.node is not None])
        return cls._unique([n for n in ordered if not _is_alias(n)], resolved)

    @classmethod
    def union(cls, dags: Iterable[Dag]) -> Dag:
        """Return one graph with the nodes of several: what they have in common is there once.

        A name that two graphs give to different nodes keeps the first one's meaning.
        """
        nodes: dict[str, Node] = {}
        inputs: dict[str, tuple[Edge, ...]] = {}
        names: dict[str, str] = {}
        for dag in dags:
            for node in dag.nodes:
                nodes.setdefault(node.node_id, node)
                inputs.setdefault(node.node_id, dag.inputs[node.node_id])
            for name, identifier in dag.names.items():
                names.setdefault(name, identifier)
        own = {
            k: tuple(e if e.node is None else replace(e, node=nodes[e.node.node_id]) for e in edges)
            for k, edges in inputs.items()
        }
        return cls(tuple(nodes.values()), own, names)

    @classmethod
    def _unique(cls, ordered: list[Node], resolved: Mapping[int, tuple[Edge, ...]]) -> Dag:
        by_id: dict[str, Node] = {}
        inputs: dict[str, tuple[Edge, ...]] = {}
        names: dict[str, str] = {}
        for node in ordered:
            identifier = node.node_id
            if by_id.setdefault(identifier, node) is node:
                edges = resolved[id(node)]
                inputs[identifier] = tuple(
                    e if e.node is None else replace(e, node=by_id[e.node.node_id]) for e in edges
                )
            if node.name is not None and names.setdefault(node.name, identifier) != identifier:
                raise DuplicateNameError(
                    f"two different nodes are called {node.name!r}",
                    hint="give each node of a strategy a name of its own",
                )
        return cls(tuple(by_id.values()), inputs, names)

    @property
    def streams(self) -> tuple[StreamInput, ...]:
        """Nodes whose bars come from outside."""
        return tuple(node for node in self.nodes if isinstance(node, StreamInput))

    def node(self, name_or_id: str) -> Node:
        """Return a node by name or id, or say which names there are."""
        identifier = self.names.get(name_or_id, name_or_id)
        found = next((node for node in self.nodes if node.node_id == identifier), None)
        if found is None:
            raise unknown_name("node", name_or_id, self.names)
        return found

    def labels(self) -> dict[str, str]:
        """Id to what people call the node: its first name, or its type with the start of its id."""
        first: dict[str, str] = {}
        for name, identifier in self.names.items():
            first.setdefault(identifier, name)
        return {node.node_id: first.get(node.node_id, node.label) for node in self.nodes}

    def readers(self) -> dict[str, list[str]]:
        """Id to the ids of the nodes that read it."""
        found: dict[str, list[str]] = {node.node_id: [] for node in self.nodes}
        for identifier, edges in self.inputs.items():
            for edge in edges:
                if edge.node is not None:
                    found[edge.node.node_id].append(identifier)
        return found


def _is_alias(node: Node) -> bool:
    return isinstance(node, TagQueryNode) and node.compute_fn is None


def _resolve(node: Node, candidates: Iterable[Node]) -> tuple[Edge, ...]:
    """Return the inputs of a node with tag queries replaced by their matches."""
    if isinstance(node, TagQueryNode):
        return _matches(node, candidates, node.period)
    edges: list[Edge] = []
    for edge in node.inputs:
        if isinstance(edge.node, TagQueryNode) and _is_alias(edge.node):
            edges += _matches(edge.node, [c for c in candidates if c is not node], edge.period)
        else:
            edges.append(edge)
    return tuple(edges)


def _matches(query: TagQueryNode, candidates: Iterable[Node], period: int) -> tuple[Edge, ...]:
    unique = {node.node_id: node for node in candidates if query.matches(node)}
    return tuple(Edge(unique[identifier], period=period) for identifier in sorted(unique))


def _closure(roots: Iterable[Node], upstream: object) -> list[Node]:
    """Return nodes and everything upstream, inputs first; iterative, so that depth has no limit."""
    done: dict[int, Node] = {}
    open_: dict[int, Node] = {}
    for root in roots:
        stack: list[tuple[Node, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                open_.pop(id(node), None)
                done[id(node)] = node
            elif id(node) not in done:
                if id(node) in open_:
                    raise CycleError(
                        f"node {node.name or node.node_type!r} is upstream of itself",
                        hint="a tag query must not match its own readers",
                    )
                open_[id(node)] = node
                stack.append((node, True))
                stack += [(child, False) for child in reversed(upstream(node)) if id(child) not in done]  # type: ignore[operator]
    return list(done.values())
