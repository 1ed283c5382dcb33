"""Outputs that must never change by accident: the same bits on every Python, with the compiler and without."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

import qmtl.indicators
import qmtl.sdk.trade
import qmtl.transforms  # noqa: F401  (registers)
from qmtl.frame import Frame
from qmtl.graph.operator import REGISTRY
from qmtl.interval import FOREVER, Span
from qmtl.sdk.tables import read_table
from qmtl.sdk.validation import checked
from qmtl.testing.operators import Bench

GOLDEN = Path(__file__).with_name("operator_outputs.json")
pytestmark = [pytest.mark.golden, pytest.mark.numeric]


@pytest.fixture(scope="module")
def bars(real_data):
    """A month with gaps, three times: as it is, doubled, and 20 bars later."""
    one = checked(read_table(real_data("USDJPY-1m-gaps.parquet"), "jpy"), name="jpy", interval=60, symbols=None)
    one = one.slice(Span(0, FOREVER))
    columns = dict(one.columns) | {"volume": np.round(one.columns["high"] * 7.0) % 11.0 + 1.0}
    wide = {k: np.ascontiguousarray(np.hstack([v, 2.0 * v, np.roll(v, 20, axis=0)])) for k, v in columns.items()}
    return Frame(one.ts[:6000], {k: v[:6000] for k, v in wide.items()}, 60, ("A", "B", "C"))


def test_outputs_are_those_of_the_past(bars):
    """A new version of an operator changes its line; ``UPDATE_GOLDEN=1`` writes the file."""
    made = {}
    for name in sorted(k for k, operator in REGISTRY.items() if operator.is_library):
        output = Bench(REGISTRY[name]).batch(bars)
        digest = hashlib.sha256(output.ts.tobytes())
        for field in sorted(output.columns):
            digest.update(np.ascontiguousarray(output.columns[field]).tobytes())
        made[name] = digest.hexdigest()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    assert made == json.loads(GOLDEN.read_text())
