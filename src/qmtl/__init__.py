"""QMTL: trading strategies as directed acyclic graphs of nodes that are identified by content.

This is a façade for people: every name is loaded on first use (PEP 562), so that ``import qmtl`` costs
nothing. Code inside the package imports the room where a name lives, never this module.

Examples
--------
>>> import qmtl
>>> qmtl.Strategy.__module__
'qmtl.sdk.strategy'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmtl.sdk import CacheView, Node, NodeCache, Runner, Strategy, StreamInput, TagQueryNode

__all__ = ["CacheView", "Node", "NodeCache", "Runner", "Strategy", "StreamInput", "TagQueryNode", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("qmtl")
    if name in __all__:
        return getattr(import_module("qmtl.sdk"), name)
    raise AttributeError(f"module 'qmtl' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
