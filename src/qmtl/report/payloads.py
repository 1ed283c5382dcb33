"""Whole payloads, such as the frames that a user's function returns, as text."""

from __future__ import annotations

import json
from typing import Any


def as_text(payload: Any) -> str:
    """Return a payload as JSON; what was read from JSON gives the same text again.

    Examples
    --------
    >>> import numpy as np
    >>> as_text(np.array([1.0, 2.0]))
    '[1.0, 2.0]'
    """
    return json.dumps(payload, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    if hasattr(value, "to_pydict"):  # Arrow
        return value.to_pydict()
    if hasattr(value, "to_dict"):  # pandas, polars
        columns = value.to_dict("list") if hasattr(value, "iloc") else value.to_dict(as_series=False)
        return {str(name): values for name, values in columns.items()}
    return str(value)
