"""What trading costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from qmtl.errors import BuildError

_HINT = "1 basis point is 0.0001 of the notional; lot and tick are sizes, 0 means no rounding"


@dataclass(frozen=True)
class Costs:
    """Fees, slippage and rounding of a venue.

    Parameters
    ----------
    maker_bps, taker_bps : float
        Fee, basis points of the notional; market orders take. A negative maker fee is a rebate.
    slippage_bps : float
        How much worse than the open a market order fills, basis points of the price.
    lot : float
        Step of quantities: orders are rounded towards zero to it; 0 for none.
    tick : float
        Step of prices: fills are rounded to it against the trader; 0 for none.

    Raises
    ------
    BuildError
        Not a number, negative, or 100 % and more.

    Examples
    --------
    >>> Costs(taker_bps=5, slippage_bps=1).taker_bps
    5.0
    """

    maker_bps: float = 0.0
    taker_bps: float = 0.0
    slippage_bps: float = 0.0
    lot: float = 0.0
    tick: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise BuildError(f"Costs: {field.name}={value!r} is not a finite number", hint=_HINT)
            if value < 0 and field.name != "maker_bps":
                raise BuildError(f"Costs: {field.name}={value!r} is negative", hint=_HINT)
            if field.name.endswith("_bps") and abs(value) >= 10_000:
                raise BuildError(f"Costs: {field.name}={value!r} is 100 % or more", hint=_HINT)
            object.__setattr__(self, field.name, float(value))
