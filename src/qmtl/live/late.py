"""Late bars between the feed that told them once and the commit that has them for good. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from qmtl.live.rows import Rows

#: So many of the last late bars of a stream are kept until they can be published.
_KEPT = 4096


@dataclass(slots=True)
class Late:
    """Late bars of streams since the last commit: for the audit, and, where they repair, for the topic.

    Attributes
    ----------
    count : int
        How many bars came late in this life.
    """

    count: int = 0
    _told: list[tuple[str, Rows]] = field(default_factory=list)
    _waiting: dict[str, Rows] = field(default_factory=dict)
    _sent: dict[str, Rows] = field(default_factory=dict)

    def put(self, stream: str, rows: Rows, *, repairs: bool) -> None:
        """Take what a feed tells once."""
        self.count += len(rows)
        self._told.append((stream, rows))
        if repairs:
            self._keep(self._waiting, stream, rows)

    def send(self, stream: str, publish: Callable[[str, Rows], Rows]) -> None:
        """Publish what waits; what cannot be published yet, which is returned, waits on."""
        rows = self._waiting.pop(stream, None)
        if rows is not None:
            early = publish(stream, rows)
            self._keep(self._sent, stream, rows)
            if len(early):
                self._waiting[stream] = early

    def waits(self, stream: str) -> bool:
        """Whether something of a stream has not been published."""
        return stream in self._waiting

    def again(self) -> None:
        """Nothing since the last commit counts: what was sent waits once more."""
        sent, self._sent = self._sent, {}
        for stream, rows in sent.items():
            later = self._waiting.pop(stream, None)
            for part in (rows,) if later is None else (rows, later):
                self._keep(self._waiting, stream, part)

    def committed(self) -> Iterator[tuple[str, Rows]]:
        """Yield what came since the last commit, and forget it: what was sent can be seen in topics."""
        told, self._told, self._sent = self._told, [], {}
        yield from told

    def _keep(self, where: dict[str, Rows], stream: str, rows: Rows) -> None:
        known = where.get(stream)
        where[stream] = (rows if known is None else Rows.joined([known, rows])).part(-_KEPT)
