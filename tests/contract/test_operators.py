"""Every registered operator against every check; what is registered later is found here by itself."""

import numpy as np
import pytest

import qmtl.indicators
import qmtl.sdk.trade
import qmtl.transforms  # noqa: F401  (registers)
from qmtl.engine.batch import Output
from qmtl.graph.operator import REGISTRY
from qmtl.testing.operators import CHECKS, Bench, applies, sample_bars

LIBRARY = {name: op for name, op in REGISTRY.items() if op.is_library}


@pytest.fixture(scope="module")
def bars():
    return sample_bars()


@pytest.mark.determinism
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_every_operator_passes_every_check(name, check, bars):
    if applies(check, LIBRARY[name]):
        CHECKS[check](Bench(LIBRARY[name]), bars)


def test_the_family_is_there():
    assert {
        "sma",
        "ema",
        "rsi",
        "macd",
        "lag",
        "log_return",
        "rolling_std",
        "rolling_min",
        "rolling_max",
        "crossover",
        "rank",
        "zscore",
    } <= set(LIBRARY)


class Wrong(Bench):
    """A bench whose stream driver is off by the last bit, and whose batch driver sees one bar ahead."""

    def streamed(self, bars, engine=None):
        made = super().streamed(bars, engine)
        return Output(made.ts, {name: np.nextafter(c, np.inf) for name, c in made.columns.items()})

    def batch(self, bars, rows=None):
        made = super().batch(bars, rows)
        return Output(made.ts, {name: np.vstack([c[1:], c[-1:] + (rows or 0)]) for name, c in made.columns.items()})


@pytest.mark.parametrize("check", ["batch_is_stream", "chunks_do_not_count", "prefixes_give_prefixes"])
def test_a_fault_is_found(check, bars):
    with pytest.raises(AssertionError):
        CHECKS[check](Wrong(LIBRARY["sma"]), bars)


def test_a_wrong_warmup_is_found(bars):
    class Late(Bench):
        warmup = property(lambda self: super().warmup + 1)

    with pytest.raises(AssertionError, match="first output"):
        CHECKS["first_output_is_at_the_warmup"](Late(LIBRARY["sma"]), bars)
