"""Nodes: frozen definitions of streams, user functions and tag queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from qmtl.errors import BuildError, IntervalError, OperatorError, UnknownNameError, unknown_name
from qmtl.graph import identity
from qmtl.graph.expression import Arithmetic, Edge, Field, is_node
from qmtl.graph.wiring import (
    check_one_argument,
    check_period,
    common_interval,
    interval_of,
    upstream_edges,
    with_periods,
)
from qmtl.interval import format_interval

OnMissing = Literal["skip", "fill", "fail"]
OnError = Literal["fail", "skip", "quarantine"]
MatchMode = Literal["any", "all"]


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
    on_error : {"fail", "skip", "quarantine"}
        What an exception in the function does: end the run, skip the bucket, or stop this node for good.
    version : str, optional
        Pins the identity of the code by hand.
    impure : bool
        The function reads something else than its view; it is never shared.

    Raises
    ------
    SignatureError
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

    # What a kind of node does not set is this, so that an unknown attribute is always a field.
    compute_fn: Callable[[Any], Any] | None = None
    config: Mapping[str, Any] = {}
    schema: Mapping[str, str] | None = None
    inputs: tuple[Edge, ...]
    interval: int
    on_missing: OnMissing | None = None
    on_error: OnError = "fail"
    version: str | None = None
    impure: bool = False

    def __init__(
        self,
        input: Any,  # noqa: A002  (the name that the SDK's users know)
        compute_fn: Callable[[Any], Any],
        name: str | None = None,
        interval: int | str | None = None,
        period: int | Mapping[Any, int] | None = None,
        tags: Iterable[str] | None = None,
        config: Mapping[str, Any] | None = None,
        schema: Mapping[str, str] | None = None,
        *,
        on_error: OnError = "fail",
        version: str | None = None,
        impure: bool = False,
    ) -> None:
        label = name or str(getattr(compute_fn, "__name__", "node"))
        check_one_argument(compute_fn, label)
        self._define(name, tags)
        self.compute_fn = compute_fn
        self.config = dict(config or {})
        self.schema = dict(schema) if schema is not None else None
        self.on_error, self.version, self.impure = on_error, version, impure
        self.inputs = with_periods(upstream_edges(input, label), period, label)
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
        return tuple(self.schema) if self.schema else None

    def single_field(self, reader: str) -> str:
        """Return the only output field, where a node stands for a value."""
        if self.outputs is not None and len(self.outputs) == 1:
            return self.outputs[0]
        fields = "its fields" if self.outputs is None else ", ".join(self.outputs)
        raise OperatorError(
            f"{reader}: node {self.name or self.node_type!r} has several fields ({fields})",
            hint="say which one: node.close or node['close']"
            + ("; or give the node a schema" if self.outputs is None else ""),
        )

    def __getitem__(self, name: str) -> Field:
        if not isinstance(name, str):
            raise UnknownNameError(
                f"field name {name!r} of node {self.name!r} is not a text", hint="write node['close']"
            )
        if self.outputs is not None and name not in self.outputs:
            raise unknown_name(f"field of {self.name or self.node_type}", name, self.outputs)
        return Field(self, name)

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_") or "inputs" not in self.__dict__:  # a half-made node has no fields
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Any:
        raise TypeError(
            f"node {self.name or self.node_type!r} cannot be iterated: it has no values while the graph is built"
        )

    @cached_property
    def fingerprint(self) -> Any:
        """Content of the compute function (:class:`qmtl.graph.fingerprint.Fingerprint`)."""
        from qmtl.graph.fingerprint import fingerprint

        positions = {id(edge.node): f"input:{index}" for index, edge in enumerate(self.inputs)}

        def captured(value: object) -> str | None:
            node = value.node if isinstance(value, Field) else value
            if not is_node(node):
                return None
            if id(node) not in positions:
                raise BuildError(
                    f"the function of node {self.name!r} uses node {node.name!r}, which is not among its inputs",
                    hint="add it to input=[…]",
                )
            return positions[id(node)] + (f".{value.name}" if isinstance(value, Field) else "")

        return fingerprint(self.compute_fn, version=self.version, captured=captured)

    @cached_property
    def _private(self) -> str:
        return uuid.uuid4().hex  # an impure node equals nothing but itself, in any process

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
        """Return what counts for the identity beside the code: all that is not known to be irrelevant."""
        counted: dict[str, Any] = {
            "interval": self.interval,
            "config": self.config,
            "inputs": [edge.canonical() for edge in self.inputs],
            "on_error": self.on_error,
        }
        if self.impure:
            counted["private"] = self._private
        return counted

    def output_schema(self) -> Mapping[str, str] | None:
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
        self,
        tags: Iterable[str] | None = None,
        interval: int | str | None = None,
        period: int = 1,
        history_provider: Any = None,
        event_recorder: Any = None,
        source: str | None = None,
        symbols: Sequence[str] | None = None,
        *,
        name: str | None = None,
        on_missing: OnMissing | None = None,
    ) -> None:
        if interval is None:
            raise IntervalError(f"stream {name!r} has no interval", hint='give the length of its bars: interval="1m"')
        self._define(name, tags)
        self.interval = interval_of(interval, name or "stream")
        self.keep = check_period(period, name or "stream")
        self.source, self.on_missing = source, on_missing
        self.symbols: tuple[str, ...] | None = tuple(symbols) if symbols is not None else None
        if self.symbols is not None and len(set(self.symbols)) != max(1, len(self.symbols)):
            raise BuildError(f"symbols of stream {name!r} are empty or not unique", hint="name each symbol once")
        self.history_provider, self.event_recorder = history_provider, event_recorder
        self.inputs = ()

    @property
    def period(self) -> int:
        """Bars of history that readers see by default."""
        return self.keep

    @property
    def outputs(self) -> tuple[str, ...] | None:
        """None: the data decide which fields there are."""
        return None

    def code(self) -> str:
        """Digest of what a stream is."""
        return identity.digest("stream@1")

    def configuration(self) -> dict[str, Any]:
        """Return where the bars come from, and their interval and policy."""
        counted: dict[str, Any] = {
            "interval": self.interval,
            "tags": list(self.tags),
            "source": self.source,
            "symbols": list(self.symbols) if self.symbols is not None else None,
        }
        if self.on_missing is not None:
            counted["on_missing"] = self.on_missing
        return counted


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
        self,
        query_tags: Iterable[str],
        interval: int | str,
        period: int = 1,
        match_mode: MatchMode = "any",
        compute_fn: Callable[[Any], Any] | None = None,
        *,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        schema: Mapping[str, str] | None = None,
        on_error: OnError = "fail",
        version: str | None = None,
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
            check_one_argument(compute_fn, label)
        self.match_mode, self.compute_fn = match_mode, compute_fn
        self.interval, self.window = interval_of(interval, label), check_period(period, label)
        self.schema = dict(schema) if schema is not None else None
        self.on_error, self.version = on_error, version
        self.inputs = ()

    @property
    def period(self) -> int:
        """Bars in the window of each upstream."""
        return self.window

    def code(self) -> str:
        """Digest of the code; without a function a query stands for its upstreams."""
        return identity.digest("tag_query@1") if self.compute_fn is None else super().code()

    def configuration(self) -> dict[str, Any]:
        """Return the query: what it matches is an input of its readers."""
        return {
            "interval": self.interval,
            "period": self.window,
            "query_tags": list(self.query_tags),
            "match_mode": self.match_mode,
            "on_error": self.on_error,
        }

    def matches(self, node: Node) -> bool:
        """Whether a node is one of this query's upstreams."""
        if node is self or isinstance(node, TagQueryNode) or node.interval != self.interval:
            return False
        wanted = set(self.query_tags)
        return wanted <= set(node.tags) if self.match_mode == "all" else bool(wanted & set(node.tags))
