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
    for name in ("to_pydict", "to_dict", "tolist"):  # Arrow, pandas and polars, numpy
        if hasattr(value, name):
            made = (
                getattr(value, name)("list") if name == "to_dict" and hasattr(value, "iloc") else getattr(value, name)()
            )
            return {str(k): list(v) for k, v in made.items()} if isinstance(made, dict) else made
    return str(value)
