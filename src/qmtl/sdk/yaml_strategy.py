"""Strategies as YAML: the same nodes, and so the same ids, as the Python form.

::

    name: Cross
    nodes:
      - {id: price, stream: {tags: [BTC, price], interval: 1m}}
      - {id: fast, compute: sma, inputs: [price.close], params: {period: 20}}
      - {id: up, expression: fast > sma(price.close, 50)}
      - {id: strength, compute: ta.rsi, period: 14, upstream_query: {tags: [BTC]}, field: close}
      - {id: own, compute: "my_package.signals:momentum", inputs: {price: price}, period: 30}
      - {id: position, compute: target_position, inputs: [up], price: price, params: {size: 1.0}}
    execution: {targets: [position], costs: {taker_bps: 5.0}, cash: 100000}

``compute`` is an operator (``sma``, ``ta.rsi``), a trade node, or ``module:function``. ``upstream_query``
takes the nodes of the file that carry the tags; ``upstream_settings`` (of a node, or of the file) says with
which interval and period a function sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from qmtl.errors import BuildError, SourceNotFoundError, unknown_name
from qmtl.graph.expression import Field
from qmtl.graph.node import Node, StreamInput, TagQueryNode
from qmtl.graph.operator import REGISTRY
from qmtl.sdk import trade
from qmtl.sdk.strategy import Strategy
from qmtl.sdk.yaml_expression import evaluate

_FILE = ("name", "nodes", "execution", "upstream_settings")
_STREAM = ("tags", "interval", "period", "source", "symbols", "on_missing")
_NODE = (
    "id", "stream", "expression", "compute", "inputs", "params", "price", "interval", "period", "tags", "config",
    "schema", "field", "upstream_query", "upstream_settings", "on_error", "version",
)  # fmt: skip
_QUERY = ("tags", "match_mode", "interval", "period")
_EXECUTION = ("targets", "costs", "cash")
_COSTS = ("maker_bps", "taker_bps", "slippage_bps", "lot", "tick")
_TRADE: dict[str, Callable[..., Node]] = {
    "target_position": trade.target_position,
    "target_weight": trade.target_weight,
}


def load(path: str | Path) -> type[Strategy]:
    """Return the strategy that a YAML file describes.

    Raises
    ------
    SourceNotFoundError
        No such file.
    BuildError
        Not YAML, a wrong key, a node that cannot be built; the message names file and node.
    """
    import yaml

    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceNotFoundError(f"{place}: {error.strerror or error}", hint="check the path") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BuildError(f"{place} is not YAML: {error}", hint="check indentation and quotes") from None
    return parse(content, str(place))


def parse(content: Any, place: str = "strategy") -> type[Strategy]:
    """Return the strategy that parsed YAML describes.

    Examples
    --------
    >>> made = parse({"nodes": [{"id": "price", "stream": {"tags": ["BTC"], "interval": "1m"}},
    ...                         {"id": "mean", "compute": "sma", "inputs": ["price.close"], "params": {"period": 20}}]})
    >>> sorted(made.build().dag.names)
    ['mean', 'price']
    """
    whole = _mapping(content, _FILE, place)
    entries = whole.get("nodes")
    if not isinstance(entries, list) or not entries:
        raise BuildError(f"{place}: there are no nodes", hint="nodes: [{id: price, stream: {…}}, …]")
    execution = _mapping(whole.get("execution") or {}, _EXECUTION, f"{place}: execution")
    costs = _mapping(execution.get("costs") or {}, _COSTS, f"{place}: execution.costs")

    def setup(self: Strategy) -> None:
        self.add_nodes(_Reader(place, whole.get("upstream_settings")).read(entries))

    def define_execution(self: Strategy) -> None:
        if execution.get("targets"):
            from qmtl.trading.costs import Costs

            self.set_target(
                *execution["targets"], costs=Costs(**costs) if costs else None, cash=execution.get("cash", 100_000.0)
            )

    name = str(whole.get("name") or Path(place).stem)
    return type(name, (Strategy,), {"setup": setup, "define_execution": define_execution, "__doc__": f"From {place}."})


class _Reader:
    """Builds the nodes of one file, in order."""

    def __init__(self, place: str, settings: Any) -> None:
        self.place, self.settings = place, settings
        self.nodes: dict[str, Node] = {}

    def read(self, entries: Iterable[Any]) -> list[Node]:
        for index, entry in enumerate(entries):
            named = f" (id {entry['id']!r})" if isinstance(entry, Mapping) and "id" in entry else ""
            place = f"{self.place}: nodes[{index}]{named}"
            checked = _mapping(entry, _NODE, place)
            if "id" not in checked:
                raise BuildError(f"{place}: the node has no id", hint="id: fast")
            if checked["id"] in self.nodes:
                raise BuildError(f"{place}: the id is there twice", hint="give each node an id of its own")
            try:
                self.nodes[str(checked["id"])] = self._node(str(checked["id"]), checked, place)
            except TypeError as error:
                raise BuildError(f"{place}: {error}") from None
            except BuildError as error:
                if error.message.startswith(self.place):
                    raise
                raise type(error)(f"{place}: {error.message}", hint=error.hint) from None
        return list(self.nodes.values())

    def _node(self, name: str, entry: Mapping[str, Any], place: str) -> Node:
        kinds = [kind for kind in ("stream", "expression", "compute") if kind in entry]
        if len(kinds) != 1:
            raise BuildError(f"{place}: give one of stream, expression and compute, not {kinds or 'none'}")
        if "stream" in entry:
            return StreamInput(**_mapping(entry["stream"], _STREAM, f"{place}.stream"), name=name)
        if "expression" in entry:
            return evaluate(str(entry["expression"]), self.nodes, name=name)
        compute = str(entry["compute"])
        if ":" in compute:
            return self._function(name, compute, entry, place)
        return self._operator(name, compute.rpartition(".")[2], entry, place)

    def _operator(self, name: str, compute: str, entry: Mapping[str, Any], place: str) -> Node:
        params = dict(entry.get("params") or {})
        if "period" in entry:
            params["period"] = entry["period"]
        common = {"name": name, "interval": entry.get("interval")}
        inputs = [self._value(text) for text in _list(entry.get("inputs", ()))] or self._queried(entry, place)
        if compute in _TRADE:
            return _TRADE[compute](*inputs, price=self._value(entry.get("price", "")), **params, **common)
        if compute not in REGISTRY:
            raise unknown_name(f"operator in {place}", compute, [*REGISTRY, *_TRADE])
        return REGISTRY[compute](*inputs, **params, tags=entry.get("tags"), **common)

    def _queried(self, entry: Mapping[str, Any], place: str) -> list[Any]:
        """Return the one node of the file that an operator's query matches."""
        query = self._query(entry, place, entry.get("interval"))
        if query is None:
            return []
        found = [node for node in self.nodes.values() if query.matches(node)]
        if len(found) != 1:
            raise BuildError(
                f"{place}: {len(found)} nodes match upstream_query, and an operator takes one",
                hint="name it in inputs: [price.close]",
            )
        field = entry.get("field") or (found[0].single_field(str(entry["id"])) if found[0].outputs else "close")
        return [found[0][field]]

    def _query(self, entry: Mapping[str, Any], place: str, interval: Any, period: int = 1) -> TagQueryNode | None:
        if "upstream_query" not in entry:
            return None
        query = _mapping(entry["upstream_query"], _QUERY, f"{place}.upstream_query")
        every = query.get("interval", interval) or next((n.interval for n in self.nodes.values()), None)
        if every is None:
            raise BuildError(f"{place}: upstream_query has no interval", hint="interval: 1m")
        return TagQueryNode(
            _list(query.get("tags", ())), every, query.get("period", period), query.get("match_mode", "any")
        )

    def _function(self, name: str, compute: str, entry: Mapping[str, Any], place: str) -> Node:
        given = entry.get("inputs")
        inputs: Any
        if isinstance(given, Mapping):
            inputs = {key: self._value(text) for key, text in given.items()}
        elif given:
            inputs = [self._value(text) for text in _list(given)]
        else:
            inputs = self._queries(entry, place)
        options = {k: entry[k] for k in ("interval", "period", "tags", "config", "schema", "version") if k in entry}
        return Node(inputs, _import(compute, place), name, on_error=entry.get("on_error", "fail"), **options)

    def _queries(self, entry: Mapping[str, Any], place: str) -> list[Node]:
        settings = entry.get("upstream_settings", self.settings) or [{"interval": entry.get("interval")}]
        found = [
            self._query(entry, place, setting.get("interval"), setting.get("period", entry.get("period", 1)))
            for setting in (_mapping(one, ("interval", "period"), f"{place}.upstream_settings") for one in settings)
        ]
        return [query for query in found if query is not None]

    def _value(self, text: Any) -> Node | Field | float:
        if isinstance(text, (int, float)):
            return float(text)
        name, _, field = str(text).partition(".")
        if name not in self.nodes:
            raise unknown_name("node", name, self.nodes)
        return self.nodes[name][field] if field else self.nodes[name]


def _import(compute: str, place: str) -> Callable[[Any], Any]:
    module, _, name = compute.partition(":")
    try:
        found: Callable[[Any], Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BuildError(f"{place}: cannot load {compute!r}: {error}", hint="compute: module:function") from None
    return found


def _mapping(value: Any, keys: tuple[str, ...], place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BuildError(f"{place} is {value!r}, not a mapping", hint=f"keys: {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise unknown_name(f"key in {place}:", str(key), keys)
    return value


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
