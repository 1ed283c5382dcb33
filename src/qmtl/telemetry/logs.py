"""Logs of services: one JSON object a line on standard error."""

from __future__ import annotations

import logging
from typing import Any

import structlog


def configure(level: str = "info") -> None:
    """Send structlog's events to standard error as JSON; libraries' warnings come the same way."""
    chosen = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(chosen),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer = structlog.processors.JSONRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(level=max(chosen, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("qmtl").setLevel(chosen)


def logger(name: str) -> Any:
    """Return a logger; keyword arguments of its calls become fields.

    Until :func:`configure` is called, warnings go to standard error: standard output belongs to results.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
    return structlog.get_logger(f"qmtl.{name}")
