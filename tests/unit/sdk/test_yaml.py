import pytest
import yaml

from qmtl.errors import BuildError, QmtlError, SourceNotFoundError, UnknownNameError
from qmtl.indicators import rsi, sma
from qmtl.sdk import Costs, Node, Strategy, StreamInput, TagQueryNode
from qmtl.sdk.trade import target_position
from qmtl.sdk.yaml_strategy import load, parse

TEXT = """
name: Cross
nodes:
  - {id: price, stream: {tags: [BTC, price], interval: 1m}}
  - {id: fast, compute: sma, inputs: [price.close], params: {period: 20}}
  - {id: up, expression: 'fast > sma(price.close, 50)'}
  - {id: strength, compute: ta.rsi, interval: 1m, period: 14, upstream_query: {tags: [BTC]}}
  - {id: own, compute: "statistics:mean", upstream_query: {tags: [BTC]}, upstream_settings: [{interval: 1m, period: 5}]}
  - {id: position, compute: target_position, inputs: [up], price: price, params: {size: 2.0}}
execution: {targets: [position], costs: {taker_bps: 5.0}, cash: 5000}
"""


def mean(view):
    return float(view.array("price", "close").mean())


class Cross(Strategy):
    def setup(self):
        import statistics

        price = StreamInput(tags=["BTC", "price"], interval="1m", name="price")
        fast = sma(price.close, 20, name="fast")
        up = fast > sma(price.close, 50)
        own = Node(TagQueryNode(["BTC"], "1m", 5), statistics.mean, "own")
        nodes = [price, fast, rsi(price.close, 14, name="strength"), own]
        self.add_nodes([*nodes, target_position(up, price=price, size=2.0, name="position")])


def test_yaml_and_python_have_the_same_ids(tmp_path):
    path = tmp_path / "cross.yaml"
    path.write_text(TEXT)
    loaded, written = load(path).build(), Cross.build()
    assert loaded.name == "Cross"
    assert {name: loaded.dag.names[name] for name in written.dag.names} == dict(written.dag.names)
    assert loaded.execution.costs == Costs(taker_bps=5.0)
    assert loaded.execution.cash == 5000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("compute: sma,", "compute: smaa,"), "did you mean 'sma'"),
        (("inputs: [price.close], params", "inputs: [prise.close], params"), "did you mean 'price'"),
        (("params: {period: 20}", "params: {periode: 20}"), "period"),
        (("params: {period: 20}", "parms: {period: 20}"), "did you mean 'params'"),
        (("interval: 1m}", "interval: 1M}"), "no fixed length"),
        (("{id: fast,", "{id: price,"), "twice"),
        (("{id: fast,", "{"), "no id"),
        (("'fast > sma", "'fast > __import__"), "unknown operator"),
        (("'fast > sma(price.close, 50)'", "'fast >'"), "not an expression"),
        (("'fast > sma(price.close, 50)'", "fast"), "does not build"),
        (("'fast > sma(price.close, 50)'", "'fast if fast else fast'"), "not understood"),
        (('compute: "statistics:mean"', 'compute: "statistics:nothing"'), "cannot load"),
        (("compute: ta.rsi, interval: 1m", "compute: ta.rsi, interval: 5m"), "0 nodes match"),
        (("costs: {taker_bps", "costs: {taker"), "taker_bps"),
    ],
)
def test_a_mistake_names_file_node_and_remedy(change, says, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(TEXT.replace(*change))
    with pytest.raises(QmtlError, match=says) as caught:
        load(path).build()
    assert "wrong.yaml" in str(caught.value)


def test_what_is_not_a_strategy_is_refused(tmp_path):
    with pytest.raises(SourceNotFoundError):
        load(tmp_path / "nothing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("nodes: [")
    with pytest.raises(BuildError, match="not YAML"):
        load(broken)
    for content in ([], None, {"nodes": []}, {"node": []}):
        with pytest.raises((BuildError, UnknownNameError)):
            parse(content)
    with pytest.raises(UnknownNameError, match="price"):
        parse(yaml.safe_load(TEXT.replace("targets: [position]", "targets: [prise]"))).build()
