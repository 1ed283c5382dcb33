"""The author's face of QMTL: strategies, nodes and the runner. Light to import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qmtl import indicators, transforms  # noqa: F401  (Python syntax on nodes builds their operators)
from qmtl.graph.node import Node, StreamInput, TagQueryNode
from qmtl.sdk.runner import Runner
from qmtl.sdk.strategy import Strategy

if TYPE_CHECKING:
    from qmtl.engine.cache import NodeCache
    from qmtl.engine.view import CacheView
    from qmtl.report.result import Result
    from qmtl.sdk.data_io import DataFetcher, EventRecorder, HistoryProvider
    from qmtl.sdk.websocket_client import WebSocketClient
    from qmtl.trading.costs import Costs

#: Names that cost something to import, and where they live.
_LAZY = {
    "CacheView": "qmtl.engine.view",
    "Costs": "qmtl.trading.costs",
    "DataFetcher": "qmtl.sdk.data_io",
    "EventRecorder": "qmtl.sdk.data_io",
    "HistoryProvider": "qmtl.sdk.data_io",
    "NodeCache": "qmtl.engine.cache",
    "Result": "qmtl.report.result",
    "WebSocketClient": "qmtl.sdk.websocket_client",
}

__all__ = [
    "CacheView",
    "Costs",
    "DataFetcher",
    "EventRecorder",
    "HistoryProvider",
    "Node",
    "NodeCache",
    "Result",
    "Runner",
    "Strategy",
    "StreamInput",
    "TagQueryNode",
    "WebSocketClient",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'qmtl.sdk' has no attribute {name!r}")
