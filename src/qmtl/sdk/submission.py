"""Submits strategies to a Gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from qmtl.errors import RefusedError, UsageError, unknown_name
from qmtl.wire.client import GatewayClient, Mapped
from qmtl.wire.messages import RUN_TYPES

if TYPE_CHECKING:
    from qmtl.sdk.strategy import Built, Strategy


def submit(strategy: type[Strategy], gateway_url: str, mode: str, *, version: str | None = None) -> Mapped:
    """Build a strategy, submit its graph and return where its nodes' queues are.

    Raises
    ------
    BuildError
        The strategy cannot be built.
    ServiceError
        The Gateway is not reachable, or refuses; the message says what to do.
    """
    return submit_built(strategy.build(), gateway_url, mode, version=version)


def submit_built(
    built: Built, gateway_url: str, mode: str, *, version: str | None = None, keep: Mapping[str, int] | None = None
) -> Mapped:
    """Submit a strategy that was built already; errors are those of :func:`submit`.

    ``keep`` has bars that the queues of streams, by id, have to hold.
    """
    from qmtl.graph.document import document

    if mode not in RUN_TYPES:
        raise unknown_name("mode", mode, RUN_TYPES)
    if not gateway_url:
        raise UsageError("the URL of the Gateway is empty", hint="gateway_url='http://127.0.0.1:8000'")
    meta = {"name": built.name, **({"version": version} if version else {})}
    return GatewayClient(gateway_url).submit(document(built.dag, keep), RUN_TYPES[mode], meta)


@contextmanager
def registered(strategies: Sequence[Built], gateway_url: str | None, mode: str) -> Iterator[list[dict[str, Any]]]:
    """Keep strategies submitted while the block runs; yield for each where its queues are. Without a URL, nothing."""
    with ExitStack() as stack:
        yield [_entered(stack, built, gateway_url, mode) for built in strategies] if gateway_url else []


def _entered(stack: ExitStack, built: Built, gateway_url: str, mode: str) -> dict[str, Any]:
    made = submit_built(built, gateway_url, mode)
    if made.state in {"failed", "rejected"}:
        raise RefusedError(f"the Gateway {made.state} {built.name}: {made.detail}", status=422)
    if made.created:  # else somebody else runs it
        stack.callback(GatewayClient(gateway_url).stop, made.strategy_id)
    counts = {"new": made.new, "reused": made.reused}
    return {"url": gateway_url, "strategy_id": made.strategy_id, "queue_map": made.queue_map, **counts}
