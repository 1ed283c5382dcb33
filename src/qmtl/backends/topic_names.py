"""What a legal topic name is, the same for every broker."""

from __future__ import annotations

import re

_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def folded(name: str) -> str:
    """Return what two names must not share: some systems ignore case, metrics write ``_`` for ``.``.

    Examples
    --------
    >>> folded("BTC.price") == folded("btc_price")
    True
    """
    return name.lower().replace(".", "_")


def refusal(name: str) -> str | None:
    """Return why a name is not legal, or None.

    Examples
    --------
    >>> refusal("btc_sma_ab12cd_v1")
    >>> refusal("a topic")
    "'a topic' is not a legal topic name: 1 to 249 of a-z A-Z 0-9 . _ -"
    """
    if _LEGAL.fullmatch(name) and name not in {".", ".."}:
        return None
    return f"{name!r} is not a legal topic name: 1 to 249 of a-z A-Z 0-9 . _ -"
