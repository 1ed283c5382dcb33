"""Shows how nodes of strategies stand: once, or as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from qmtl.cli.options import say
from qmtl.errors import ServiceError
from qmtl.interval import format_time
from qmtl.wire.client import RESTING, GatewayClient

if TYPE_CHECKING:
    from rich.table import Table

_PAUSE_S = 0.5
_SHORT = 12
#: Strategies that are shown at once; the newest.
_SHOWN = 20
#: An epoch is a term, which grows with each start of the DAG manager, and a number in it.
_EPOCHS = 1 << 20
_MOVING = frozenset({"queued", "diffing", "warming", "running", "draining"})

Look = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Row:
    """A node of a strategy, in words."""

    strategy: str
    node: str
    state: str
    producer: str
    epoch: str
    lag: str
    last: str
    reason: str

    @property
    def changes(self) -> tuple[str, ...]:
        """What makes it worth a line: all but how far it is."""
        return (self.state.partition(" ")[0], self.producer, self.epoch, self.reason)


HEADINGS = ("strategy", "node", "state", "producer", "epoch", "lag", "last bucket", "reason")


def rows(strategies: Sequence[dict[str, Any]]) -> list[Row]:
    """Return a row for each node of strategies, as ``GET /strategies/{id}`` gives them.

    Examples
    --------
    >>> node = {"node_id": "ab" * 32, "name": "mean", "state": "warming", "done": 12, "need": 50, "eta_s": 38.0,
    ...         "producer": "r-1", "host": "box:17", "epoch": 3 << 20 | 7, "lag_s": 0, "last_bucket": 60, "reason": ""}
    >>> (row,) = rows([{"strategy_id": "s-1", "name": "A", "nodes": [node]}])
    >>> row.state, row.producer, row.epoch, row.lag, row.last
    ('warming 12 of 50, 38 s left', 'box:17', '3.7', '0 s', '1970-01-01T00:01:00Z')
    """
    return [_row(one, node) for one in strategies for node in one["nodes"]]


def _row(strategy: dict[str, Any], node: dict[str, Any]) -> Row:
    epoch, lag, last = node["epoch"], node["lag_s"], node["last_bucket"]
    return Row(
        strategy=strategy["name"] or strategy["strategy_id"][:_SHORT],
        node=node["name"] or node["node_id"][:_SHORT],
        state=_state(node),
        producer=node["host"] or node["producer"] or "-",
        epoch=f"{epoch // _EPOCHS}.{epoch % _EPOCHS}" if epoch else "-",
        lag=f"{lag} s" if lag is not None else "-",
        last=format_time(last) if last is not None else "-",
        reason=node["reason"] or "",
    )


def _state(node: dict[str, Any]) -> str:
    if node["state"] is None:
        return "unattended"
    if node["state"] != "warming":
        return str(node["state"])
    left = f", {node['eta_s']:.0f} s left" if node["eta_s"] is not None else ""
    return f"warming {node['done']} of {node['need']}{left}"


def line(row: Row) -> str:
    """Return a row as a line of text."""
    return (
        f"{row.strategy:<14} {row.node:<14} {row.state:<28} {row.producer:<22} {row.epoch:<7} {row.lag:<8} "
        f"{row.last:<20} {row.reason}"
    ).rstrip()


def watch(client: GatewayClient, strategy_id: str | None) -> None:
    """Show one strategy until it ends, or all until Ctrl-C: redrawn in place on a terminal, else line by line."""
    from rich.console import Console

    console = Console()
    try:
        looks = _looks(_look(client, strategy_id))
        if console.is_terminal:
            _redraw(console, looks)
        else:
            _print(looks)
    except KeyboardInterrupt:
        say("watching ended; what was watched goes on")


def _look(client: GatewayClient, strategy_id: str | None) -> Look:
    def one() -> list[dict[str, Any]]:
        return [client.strategy(str(strategy_id))]

    def everything() -> list[dict[str, Any]]:
        moving = [found["strategy_id"] for found in client.strategies() if found["status"] in _MOVING]
        return [client.strategy(found) for found in moving[:_SHOWN]]

    return one if strategy_id is not None else everything


def _looks(look: Look) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Yield what is seen and what is in the way, again and again; a Gateway that goes away is waited for."""
    found, trouble = look(), ""
    while True:
        yield found, trouble
        if len(found) == 1 and found[0]["status"] in RESTING - _MOVING:
            return
        time.sleep(_PAUSE_S)
        try:
            found, trouble = look(), ""
        except ServiceError as error:
            trouble = error.message


def _redraw(console: Any, looks: Iterator[tuple[list[dict[str, Any]], str]]) -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        for found, trouble in looks:
            live.update(_table(found, trouble), refresh=True)


def _table(found: list[dict[str, Any]], trouble: str) -> Table:
    from rich.table import Table

    states = ", ".join(f"{one['name'] or one['strategy_id'][:_SHORT]} {one['status']}" for one in found)
    made = Table(*HEADINGS, title=states or "no strategy is attended to", caption=trouble or None, box=None)
    for row in rows(found):
        made.add_row(*astuple(row))
    return made


def _print(looks: Iterator[tuple[list[dict[str, Any]], str]]) -> None:
    """Print a line for each strategy and node that is new or has changed."""
    seen: dict[tuple[str, ...], tuple[str, ...]] = {}
    said = ""
    for found, trouble in looks:
        for one in found:
            if seen.get((one["strategy_id"],)) != (one["status"],):
                seen[one["strategy_id"],] = (one["status"],)
                print(f"{one['strategy_id']}  {one['status']}  {one['run_type']}  {one['name'] or ''}", flush=True)
            for row in rows([one]):
                if seen.get((one["strategy_id"], row.node)) != row.changes:
                    seen[one["strategy_id"], row.node] = row.changes
                    print(f"  {line(row)}", flush=True)
        if trouble and trouble != said:
            say(trouble)
        said = trouble
