"""Windows as one labelled tensor, for people who work with xarray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from qmtl.engine.view import Slot


def labelled_tensor(slots: Sequence[Slot]) -> Any:
    """Return C[upstream, interval, period slot, field]; what an upstream does not have is NaN.

    Raises
    ------
    ImportError
        xarray is not installed.
    """
    try:
        import xarray as xr
    except ImportError:
        raise ImportError("as_xarray() needs xarray\n  hint: uv pip install xarray") from None
    rings = [(slot, slot.ring) for slot in slots if slot.ring is not None and slot.ring.width == 1]
    intervals = sorted({slot.node.interval for slot, _ in rings})
    fields = sorted({name for _, ring in rings for name in ring.fields})
    longest = max((slot.period for slot, _ in rings), default=0)
    tensor = np.full((len(rings), len(intervals), longest, len(fields)), np.nan)
    for u, (slot, ring) in enumerate(rings):
        for name, column in ring.columns.items():
            window = column[slot.end - slot.period : slot.end]
            tensor[u, intervals.index(slot.node.interval), longest - slot.period :, fields.index(name)] = window
    labels = [slot.key or slot.node.label for slot, _ in rings]
    return xr.DataArray(tensor, dims=("u", "i", "p", "f"), coords={"u": labels, "i": intervals, "f": fields})
