"""Nodes: frozen definitions of streams, operators, user functions and tag queries."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from qmtl.errors import BuildError, IntervalError, OperatorError, UnknownNameError, WindowError, unknown_name
from qmtl.graph import identity
from qmtl.graph.operator import Operator
from qmtl.interval import format_interval, parse_interval

OnMissing = Literal["skip", "fill", "fail"]
OnError = Literal["fail", "skip", "quarantine"]
MatchMode = Literal["any", "all"]


class Arithmetic:
    """Python syntax that builds operator nodes: ``a + b``, ``a > b``, ``a & b`` …"""

    __slots__ = ()
    __array_ufunc__ = None  # numpy must not try to broadcast over a node

    def _apply(self, operator: str, *args: Any) -> OperatorNode:
        from qmtl.graph.operator import REGISTRY

        if operator not in REGISTRY:
            raise OperatorError(f"operator {operator!r} is not loaded", hint="import qmtl.transforms")
        return REGISTRY[operator](*args)

    def __add__(self, other: Any) -> OperatorNode: return self._apply("add", self, other)
    def __radd__(self, other: Any) -> OperatorNode: return self._apply("add", other, self)
    def __sub__(self, other: Any) -> OperatorNode: return self._apply("subtract", self, other)
    def __rsub__(self, other: Any) -> OperatorNode: return self._apply("subtract", other, self)
    def __mul__(self, other: Any) -> OperatorNode: return self._apply("multiply", self, other)
    def __rmul__(self, other: Any) -> OperatorNode: return self._apply("multiply", other, self)
    def __truediv__(self, other: Any) -> OperatorNode: return self._apply("divide", self, other)
    def __rtruediv__(self, other: Any) -> OperatorNode: return self._apply("divide", other, self)
    def __neg__(self) -> OperatorNode: return self._apply("subtract", 0.0, self)
    def __lt__(self, other: Any) -> OperatorNode: return self._apply("less", self, other)
    def __le__(self, other: Any) -> OperatorNode: return self._apply("less_equal", self, other)
    def __gt__(self, other: Any) -> OperatorNode: return self._apply("less", other, self)
    def __ge__(self, other: Any) -> OperatorNode: return self._apply("less_equal", other, self)
    def __and__(self, other: Any) -> OperatorNode: return self._apply("both", self, other)
    def __rand__(self, other: Any) -> OperatorNode: return self._apply("both", other, self)
    def __or__(self, other: Any) -> OperatorNode: return self._apply("either", self, other)
    def __ror__(self, other: Any) -> OperatorNode: return self._apply("either", other, self)
    def __invert__(self) -> OperatorNode: return self._apply("negate", self)

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
        """What of this edge is part of the reader's identity."""
        if self.node is None:
            return {"constant": float(self.constant or 0.0)}
        parts: dict[str, Any] = {"node": self.node.node_id, "period": self.period}
        if self.field is not None:
            parts["field"] = self.field
        if self.key is not None:
            parts["key"] = self.key
        return parts


def as_edge(value: Any, owner: str) -> Edge:
    """Turn an operator argument (field, node with one output, number) into an edge."""
    if isinstance(value, Field):
        return Edge(value.node, value.name)
    if isinstance(value, Node):
        return Edge(value, value.single_field(owner))
    if isinstance(value, (bool, int, float)) or type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        return Edge(None, constant=float(value))
    raise OperatorError(
        f"{owner}: {value!r} is not an input",
        hint="pass a node, a field such as price.close, or a number",
    )


class Node(Arithmetic):
    """A node that runs a user's function on windows of its inputs.

    Parameters
    ----------
    input : Node, list of Node, or mapping of key to Node
        Upstream nodes; a field such as ``price.close`` stands for its node.
    compute_fn : callable
        Takes one argument, the view, and returns a mapping of scalars, a scalar, a frame or None.
    name : str, optional
        Unique in a strategy; not part of the identity.
    interval : int or str, optional
        Defaults to the common interval of the inputs.
    period : int or mapping of key (or node) to int, optional
        Bars in the window; defaults to the largest period among the inputs.
    tags, config, schema : optional
        Tags for tag queries; parameters that count for the identity; output field names and types.
    on_missing, on_error : optional
        Policies of this node, if they differ from the run's.
    version : str, optional
        Pins the identity of the code by hand.
    impure : bool
        The function reads something else than its view; it is never shared.

    Raises
    ------
    TypeError
        The function does not take exactly one argument.
    BuildError
        Bad input, interval or period; the message names the node.

    Examples
    --------
    >>> from qmtl.sdk import Node, StreamInput
    >>> price = StreamInput(tags=["BTC"], interval="1m", name="price")
    >>> def spread(view):
    ...     bar = view.latest(price)
    ...     return {"spread": bar["high"] - bar["low"]}
    >>> len(Node(input=price, compute_fn=spread, name="spread").node_id)
    64
    """

    node_type: ClassVar[str] = "Node"

    def __init__(
        self, input: Any, compute_fn: Callable[[Any], Any], name: str | None = None, interval: int | str | None = None,
        period: int | Mapping[Any, int] | None = None, tags: Iterable[str] | None = None,
        config: Mapping[str, Any] | None = None, schema: Mapping[str, str] | None = None, *,
        on_missing: OnMissing | None = None, on_error: OnError = "fail", version: str | None = None, impure: bool = False,
    ) -> None:
        label = name or getattr(compute_fn, "__name__", "node")
        _check_one_argument(compute_fn, label)
        self._define(name, tags)
        self.compute_fn = compute_fn
        self.config = dict(config or {})
        self.schema = dict(schema) if schema is not None else None
        self.on_missing, self.on_error = on_missing, on_error
        self.version, self.impure = version, impure
        upstream = _upstream(input, label)
        self.inputs: tuple[Edge, ...] = _with_periods(upstream, period, label)
        self.interval = common_interval([e.node for e in self.inputs if e.node is not None], interval, label)

    def _define(self, name: str | None, tags: Iterable[str] | None) -> None:
        if isinstance(tags, str):
            raise BuildError(f"tags of {name!r} is a text, not a list", hint=f"write tags=[{tags!r}]")
        self.name = name
        self.tags: tuple[str, ...] = tuple(sorted(set(tags or ())))

    @property
    def period(self) -> int:
        """The largest window over the inputs, bars."""
        return max((edge.period for edge in self.inputs), default=1)

    @property
    def label(self) -> str:
        """The name, or the type with the start of the id."""
        return self.name or f"{self.node_type}_{self.node_id[:8]}"

    @property
    def outputs(self) -> tuple[str, ...] | None:
        """Output field names, None where they are known only from the data."""
        return tuple(self.schema) if getattr(self, "schema", None) else None  # type: ignore[arg-type]

    def single_field(self, reader: str) -> str:
        """The only output field, where a node stands for a value."""
        if self.outputs is not None and len(self.outputs) == 1:
            return self.outputs[0]
        fields = "its fields" if self.outputs is None else ", ".join(self.outputs)
        raise OperatorError(
            f"{reader}: node {self.name or self.node_type!r} has several fields ({fields})",
            hint="say which one: node.close or node['close']" + ("; or give the node a schema" if self.outputs is None else ""),
        )

    def __getitem__(self, name: str) -> Field:
        if not isinstance(name, str):
            raise UnknownNameError(f"field name {name!r} of node {self.name!r} is not a text", hint="write node['close']")
        if self.outputs is not None and name not in self.outputs:
            raise unknown_name(f"field of {self.name or self.node_type}", name, self.outputs)
        return Field(self, name)

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_") or "node_type" not in type(self).__dict__ and name in Node.__annotations__:
            raise AttributeError(name)
        if "inputs" not in self.__dict__:
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Any:
        raise TypeError(f"node {self.name or self.node_type!r} cannot be iterated: it has no values while the graph is built")

    @cached_property
    def fingerprint(self) -> Any:
        """Content of the compute function (:class:`qmtl.graph.fingerprint.Fingerprint`)."""
        from qmtl.graph.fingerprint import fingerprint

        positions = {id(edge.node): f"input:{index}" for index, edge in enumerate(self.inputs)}

        def captured(value: object) -> str | None:
            node = value.node if isinstance(value, Field) else value
            if not isinstance(node, Node):
                return None
            if id(node) not in positions:
                raise BuildError(
                    f"the function of node {self.name!r} uses node {node.name!r}, which is not among its inputs",
                    hint="add it to input=[…]",
                )
            return positions[id(node)] + (f".{value.name}" if isinstance(value, Field) else "")

        return fingerprint(self.compute_fn, version=self.version, captured=captured)

    @cached_property
    def parts(self) -> identity.Parts:
        """The four parts whose digest is the id."""
        return identity.Parts.of(self.node_type, self.code(), self.configuration(), self.output_schema())

    @cached_property
    def node_id(self) -> str:
        """Content address: 64 hex characters, the same wherever the same thing is computed."""
        return identity.node_id(self.parts)

    def code(self) -> str:
        """Digest of the code."""
        digest: str = self.fingerprint.digest
        return digest

    def configuration(self) -> dict[str, Any]:
        """What counts for the identity beside the code; the deny-list is in the design."""
        counted: dict[str, Any] = {
            "interval": self.interval,
            "config": self.config,
            "inputs": [edge.canonical() for edge in self.inputs],
            "on_error": self.on_error,
        }
        if self.on_missing is not None:
            counted["on_missing"] = self.on_missing
        if self.impure:
            counted["private"] = id(self)  # an impure node equals nothing but itself
        return counted

    def output_schema(self) -> dict[str, str] | None:
        """Field names and types, None where inferred from the data."""
        return self.schema

    def __repr__(self) -> str:
        return f"<{self.node_type} {self.name or ''} {format_interval(self.interval)}>".replace("  ", " ")


class StreamInput(Node):
    """A node whose bars come from outside.

    Parameters
    ----------
    tags : list of str
        What the stream is, for example ``["BTC", "price"]``; part of its identity.
    interval : int or str
        Length of a bar, for example ``"1m"``.
    period : int
        How much history readers see by default, bars; not identity.
    source : str, optional
        Where the bars come from (venue and symbol); part of the identity.
    symbols : sequence of str, optional
        A universe: every field is ``float64[T, S]``.
    name : str, optional
        What ``data={"name": …}`` binds to.
    history_provider, event_recorder : object, optional
        Anything with the asynchronous ``fetch`` and ``persist`` of the protocols.
    on_missing : {"skip", "fill", "fail"}, optional
        Policy of this stream, if it differs from the run's.

    Raises
    ------
    IntervalError, WindowError
        Interval or period is not positive, or has no fixed length.

    Examples
    --------
    >>> from qmtl.sdk import StreamInput
    >>> StreamInput(tags=["BTC", "price"], interval="1m", name="price").interval
    60
    """

    node_type = "StreamInput"

    def __init__(
        self, tags: Iterable[str] | None = None, interval: int | str | None = None, period: int = 1, history_provider: Any = None,
        event_recorder: Any = None, source: str | None = None, symbols: Sequence[str] | None = None, *,
        name: str | None = None, on_missing: OnMissing | None = None,
    ) -> None:
        if interval is None:
            raise IntervalError(f"stream {name!r} has no interval", hint='give the length of its bars: interval="1m"')
        self._define(name, tags)
        self.interval = parse_interval(interval)
        self.keep = check_period(period, name or "stream")
        self.source, self.on_missing = source, on_missing
        self.symbols: tuple[str, ...] | None = tuple(symbols) if symbols is not None else None
        self.history_provider, self.event_recorder = history_provider, event_recorder
        self.inputs = ()

    @property
    def period(self) -> int:
        """Bars of history that readers see by default."""
        return self.keep

    @property
    def outputs(self) -> tuple[str, ...] | None:
        return None

    def code(self) -> str:
        return identity.digest("stream@1")

    def configuration(self) -> dict[str, Any]:
        counted: dict[str, Any] = {"interval": self.interval, "tags": list(self.tags), "source": self.source,
                                   "symbols": list(self.symbols) if self.symbols is not None else None}
        if self.on_missing is not None:
            counted["on_missing"] = self.on_missing
        return counted

    def output_schema(self) -> dict[str, str] | None:
        return None


class OperatorNode(Node):
    """A node made by calling an operator; built by syntax, not by hand."""

    def __init__(self, operator: Operator, sources: Sequence[Any], params: Mapping[str, Any], *,
                 name: str | None, tags: Iterable[str] | None, interval: int | str | None) -> None:
        self._define(name, tags)
        self.operator = operator
        self.params = dict(params)
        edges = tuple(as_edge(source, operator.name) for source in sources)
        nodes = [edge.node for edge in edges if edge.node is not None]
        if not nodes:
            raise OperatorError(f"{operator.name} has only constants as inputs", hint="give it at least one node")
        lookback = operator.lookback(params)
        self.inputs = tuple(edge if edge.node is None else Edge(edge.node, edge.field, period=lookback) for edge in edges)
        longest = parse_interval(interval) if interval is not None else None
        if operator.kind == "resample":
            self.interval = _longer_interval(operator, nodes[0], longest)
        else:
            self.interval = common_interval(nodes, longest, name or operator.name)
        self.schema = None
        self.on_missing: OnMissing | None = None
        self.impure = False

    @property
    def node_type(self) -> str:  # type: ignore[override]
        return self.operator.name

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.operator.outputs

    def code(self) -> str:
        if self.operator.is_library:
            return identity.digest(f"{self.operator.name}@{self.operator.version}")
        return identity.digest(*(f.digest for f in self.fingerprint))

    @cached_property
    def fingerprint(self) -> Any:
        """Contents of the step functions of a user's own operator."""
        from qmtl.graph.fingerprint import fingerprint

        steps = (self.operator.step, self.operator.lift, self.operator.merge)
        return tuple(fingerprint(step) for step in steps if step is not None)

    def configuration(self) -> dict[str, Any]:
        operator = self.operator
        return {
            "interval": self.interval, "kind": operator.kind, "params": self.params,
            "window": operator.window(self.params), "state": operator.state,
            "inputs": [edge.canonical() for edge in self.inputs],
        }

    def output_schema(self) -> dict[str, str] | None:
        return dict.fromkeys(self.outputs, "float64")


class TagQueryNode(Node):
    """A node whose upstreams are all nodes with given tags and interval.

    Parameters
    ----------
    query_tags : list of str
        Tags to look for.
    interval : int or str
        Interval of the upstreams and of this node.
    period : int
        Bars in the window of each upstream.
    match_mode : {"any", "all"}
        Whether one common tag is enough.
    compute_fn : callable, optional
        Takes the view of all upstreams. Without it the node only stands for its upstreams in
        ``Node(input=query, …)``.

    Examples
    --------
    >>> from qmtl.sdk import TagQueryNode
    >>> TagQueryNode(["momentum"], interval="1m", period=5).query_tags
    ('momentum',)
    """

    node_type = "TagQueryNode"

    def __init__(
        self, query_tags: Iterable[str], interval: int | str, period: int = 1, match_mode: MatchMode = "any",
        compute_fn: Callable[[Any], Any] | None = None, *, name: str | None = None, tags: Iterable[str] | None = None,
        schema: Mapping[str, str] | None = None, on_error: OnError = "fail", version: str | None = None,
    ) -> None:
        label = name or "tag query"
        self._define(name, tags)
        if isinstance(query_tags, str):
            raise BuildError(f"query_tags of {label} is a text, not a list", hint=f"write query_tags=[{query_tags!r}]")
        self.query_tags = tuple(sorted(set(query_tags)))
        if not self.query_tags:
            raise BuildError(f"{label} asks for no tag", hint='give query_tags=["…"]')
        if match_mode not in ("any", "all"):
            raise unknown_name("match_mode", str(match_mode), ("any", "all"))
        if compute_fn is not None:
            _check_one_argument(compute_fn, label)
        self.match_mode, self.compute_fn = match_mode, compute_fn  # type: ignore[assignment]
        self.interval, self.window = parse_interval(interval), check_period(period, label)
        self.schema = dict(schema) if schema is not None else None
        self.config, self.on_missing, self.on_error = {}, None, on_error
        self.version, self.impure = version, False
        self.inputs = ()

    @property
    def period(self) -> int:
        return self.window

    def code(self) -> str:
        return identity.digest("tag_query@1") if self.compute_fn is None else super().code()

    def configuration(self) -> dict[str, Any]:
        return {"interval": self.interval, "period": self.window, "query_tags": list(self.query_tags),
                "match_mode": self.match_mode, "on_error": self.on_error}

    def matches(self, node: Node) -> bool:
        """Whether a node is one of this query's upstreams."""
        if node is self or isinstance(node, TagQueryNode) or node.interval != self.interval:
            return False
        wanted = set(self.query_tags)
        return wanted <= set(node.tags) if self.match_mode == "all" else bool(wanted & set(node.tags))


def check_period(period: Any, label: str) -> int:
    """Return a period of at least one bar, or say which node has a bad one."""
    if isinstance(period, bool) or not isinstance(period, int) or period <= 0:
        raise WindowError(f"period of {label!r} is {period!r}", hint="use a whole number of bars, at least 1")
    return period


def common_interval(nodes: Sequence[Node], given: int | str | None, label: str) -> int:
    """Return the given interval, or the one that all inputs have."""
    if given is not None:
        return parse_interval(given)
    intervals = sorted({node.interval for node in nodes})
    if len(intervals) != 1:
        names = ", ".join(format_interval(i) for i in intervals)
        raise IntervalError(
            f"the inputs of {label!r} have different intervals ({names}) and it gives none",
            hint=f'say how often it runs: interval="{format_interval(intervals[0])}"',
        )
    return intervals[0]


def _longer_interval(operator: Operator, source: Node, given: int | None) -> int:
    if given is None or given <= source.interval or given % source.interval:
        raise IntervalError(
            f"{operator.name}: cannot build bars of {given and format_interval(given)} from {format_interval(source.interval)}",
            hint="the longer interval must be a multiple of the shorter one",
        )
    return given


def _check_one_argument(compute_fn: Any, label: str) -> None:
    if not callable(compute_fn):
        raise TypeError(f"compute_fn of node {label!r} is {compute_fn!r}, not a function")
    signature = inspect.signature(compute_fn)
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(
            f"compute_fn of node {label!r} is {label}{signature}: it must take exactly one argument, the view\n"
            "  hint: def signal(view): …; other values belong into closure variables, defaults or config="
        ) from None
    required = [p for p in signature.parameters.values() if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(required) > 1:
        raise TypeError(f"compute_fn of node {label!r} takes {len(required)} arguments; it must take one, the view")


def _upstream(given: Any, label: str) -> list[Edge]:
    """Normalise ``input=`` to edges; fields stand for their nodes."""
    if isinstance(given, Mapping):
        pairs: list[tuple[str | None, Any]] = [(str(key), value) for key, value in given.items()]
    elif isinstance(given, (Node, Field)):
        pairs = [(None, given)]
    elif isinstance(given, Iterable) and not isinstance(given, str):
        pairs = [(None, value) for value in given]
    else:
        pairs = [(None, given)]
    edges = []
    for key, value in pairs:
        node = value.node if isinstance(value, Field) else value
        if not isinstance(node, Node):
            raise BuildError(f"input of node {label!r} is {value!r}, not a node", hint="pass a node, a list of nodes or a mapping of key to node")
        edges.append(Edge(node, key=key))
    if not edges:
        raise BuildError(f"node {label!r} has no input", hint="only a StreamInput has none")
    if len({id(edge.node) for edge in edges}) != len(edges):
        raise BuildError(f"node {label!r} has the same input twice", hint="name it once")
    return edges


def _with_periods(edges: list[Edge], period: Any, label: str) -> tuple[Edge, ...]:
    if not isinstance(period, Mapping):
        common = max(e.node.period for e in edges if e.node is not None) if period is None else period
        return tuple(Edge(e.node, key=e.key, period=check_period(common, label)) for e in edges)
    wanted = {(id(k.node) if isinstance(k, Field) else id(k) if isinstance(k, Node) else k): v for k, v in period.items()}
    sized = []
    for edge in edges:
        assert edge.node is not None  # compute nodes have no constant inputs
        names: tuple[Any, ...] = (id(edge.node), edge.key, edge.node.name)
        chosen = next((wanted.pop(n) for n in names if n is not None and n in wanted), edge.node.period)
        sized.append(Edge(edge.node, key=edge.key, period=check_period(chosen, label)))
    if wanted:
        raise unknown_name(f"input in period= of {label}", str(next(iter(wanted))), [e.key or e.node.label for e in edges if e.node])
    return tuple(sized)
