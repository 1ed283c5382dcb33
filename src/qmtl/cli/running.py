"""Shows where a run is: one line that changes on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qmtl.cli.options import say
from qmtl.interval import format_time, parse_time

if TYPE_CHECKING:
    from qmtl.sdk.handle import Handle

#: A terminal is redrawn so often; elsewhere a line is written so often at most, in seconds.
_REDRAW_S, _LINE_S = 0.25, 10.0
#: The rate is that of so many seconds.
_RATE_S = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at a moment: when, how many bars of its nodes it has had, and through when everything was delivered."""

    at: float
    bars: int
    through: int | None


class Rate:
    """How fast a run goes, from what was seen of it lately.

    Examples
    --------
    >>> rate = Rate()
    >>> rate.seen(Seen(0.0, 0, 0)), rate.seen(Seen(2.0, 500, 6000))
    (None, None)
    >>> rate.bars_per_s, rate.eta_s(until=12000)
    (250.0, 2.0)
    """

    def __init__(self) -> None:
        self._seen: list[Seen] = []

    def seen(self, one: Seen) -> None:
        """Take another look."""
        self._seen = [before for before in self._seen if one.at - before.at <= _RATE_S] + [one]

    @property
    def bars_per_s(self) -> float:
        """Bars of all nodes in a second."""
        first, last = self._seen[0], self._seen[-1]
        return (last.bars - first.bars) / (last.at - first.at) if last.at > first.at else 0.0

    def eta_s(self, until: int) -> float | None:
        """Return the seconds to a moment of the data, or None while that cannot be told."""
        first, last = self._seen[0], self._seen[-1]
        if first.through is None or last.through is None or last.through <= first.through:
            return None
        return max(0.0, (until - last.through) * (last.at - first.at) / (last.through - first.through))


def line(status: Mapping[str, Any], rate: Rate) -> str:
    """Return a run in one line: bars, how far, how fast, how long yet, roles, and what is wrong.

    Examples
    --------
    >>> rate = Rate()
    >>> rate.seen(Seen(0.0, 0, None))
    >>> node = {"state": "warming", "computed": 3, "read": 0, "producer": True}
    >>> line({"nodes": {"mean": node}, "through": None, "until": None, "trouble": "", "control_plane": ""}, rate)
    '3 bars, computes 1 of 1 nodes, 1 warming'
    """
    nodes = [*status["nodes"].values()]
    parts = [f"{bars(status):,} bars"]
    parts += [f"through {status['through']}"] if status["through"] else []
    parts += [f"{rate.bars_per_s:,.0f} a second"] if rate.bars_per_s else []
    eta = None if status["until"] is None else rate.eta_s(parse_time(status["until"]))
    parts += [f"{eta:.0f} s left"] if eta is not None else []
    parts.append(f"computes {sum(node['producer'] for node in nodes)} of {len(nodes)} nodes")
    for state in ("waiting", "warming", "stalled", "quarantined"):
        count = sum(node["state"] == state for node in nodes)
        parts += [f"{count} {state}"] if count else []
    parts += [why for why in (status["trouble"], status["control_plane"]) if why]
    return ", ".join(parts)


def bars(status: Mapping[str, Any]) -> int:
    """Return how many records of all nodes a run has had."""
    return sum(node["computed"] + node["read"] for node in status["nodes"].values())


@contextmanager
def progress_told(handle: Handle) -> Iterator[None]:
    """Say what runs and where it is, until the block ends."""
    say(f"running {', '.join(handle.strategy_ids)} at {handle.gateway_url}; `qmtl status --watch` shows the nodes")
    if handle.resumed_from is not None:
        say(f"goes on from {format_time(handle.resumed_from)}, where it was cut off")
    if handle.metrics_url is not None:
        say(f"metrics at {handle.metrics_url}")
    ended, is_terminal = threading.Event(), sys.stderr.isatty()
    with _redrawn() if is_terminal else nullcontext(say) as tell:
        pause_s = _REDRAW_S if is_terminal else _LINE_S
        teller = threading.Thread(target=_tell, args=(handle, tell, ended, pause_s), daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()


def _tell(handle: Handle, tell: Callable[[str], None], ended: threading.Event, pause_s: float) -> None:
    rate, said = Rate(), ""
    while not ended.wait(pause_s):
        status = handle.status()
        through = None if status["through"] is None else parse_time(status["through"])
        rate.seen(Seen(time.monotonic(), bars(status), through))
        if (text := line(status, rate)) != said:
            tell(text)
        said = text


@contextmanager
def _redrawn() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line in place of the one before; NO_COLOR is heeded."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
