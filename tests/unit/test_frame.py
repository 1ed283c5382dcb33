import numpy as np

from qmtl.frame import Frame
from qmtl.interval import Span


def bars(values=(1.0, 2.0, 3.0), symbols=None):
    column = np.array(values).reshape(len(values), -1)
    return Frame(np.arange(len(values), dtype=np.int64) * 60, {"close": column}, 60, symbols)


def test_a_slice_is_a_view():
    whole = bars()
    part = whole.slice(Span(60, 180))
    assert part.ts.tolist() == [60, 120]
    assert np.shares_memory(part.columns["close"], whole.columns["close"])


def test_equal_content_has_an_equal_fingerprint_and_other_content_another():
    assert bars().fingerprint() == bars().fingerprint()
    assert bars().fingerprint() != bars((1.0, 2.0, 4.0)).fingerprint()
    assert bars().fingerprint() != bars(symbols=("A",)).fingerprint()


def test_a_universe_has_a_column_for_each_symbol():
    table = bars(np.arange(6.0).reshape(3, 2), symbols=("A", "B")).to_pandas()
    assert table["close", "B"].tolist() == [1.0, 3.0, 5.0]
    assert bars().to_pandas().index.name == "ts"
