"""Writing and reading the records of topics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from qmtl.ports.dependency import Dependency
from qmtl.wire.records import Batch


class Entry(NamedTuple):
    """A batch and the position behind it, where reading goes on."""

    next: int
    batch: Batch


class RecordLog(Dependency):
    """An ordered log for each topic, shared by processes.

    Promises: a topic has one order, the same for every reader, however many write; what ``append`` acknowledged
    is there after a crash of any process; a reader sees it within 20 ms on one machine. Positions are integers that
    grow; 0 is the beginning. Reading from an old position and on is history and tail in one: nothing is between them.

    A position whose record was removed by retention goes on at the earliest that is left. A topic that is not there
    has nothing to read, and refuses to be appended to. One ``read`` runs at a time; ``append`` may run beside it.
    """

    role = "log"
    #: Whether ``append`` refuses every batch of an older epoch: then what it has acknowledged stands.
    refuses: ClassVar[bool] = False

    @abstractmethod
    async def append(self, batches: Sequence[tuple[str, Batch]]) -> set[str]:
        """Append (topic, batch) pairs in order; durable when it returns. Return topics that a newer epoch has taken.

        A batch of an older epoch than the topic has seen may be refused, and is then in the answer; where the log
        cannot tell, it is appended, and readers drop it. UnavailableError: of each topic's batches the first ones may
        be there, or come to be there yet, and no later one without those before it; append all of them again,
        readers drop duplicates.
        """

    @abstractmethod
    async def read(self, positions: Mapping[str, int], limit: int, wait_s: float) -> dict[str, list[Entry]]:
        """Return entries of topics from positions on: up to ``limit`` of all topics together, each topic in order.

        Waits up to ``wait_s`` seconds until there is one, and no longer; topics without are absent from the answer.
        No topic is passed over for ever. An empty answer does not mean that a topic ended: see :meth:`ends`.
        """

    @abstractmethod
    async def seek(self, buckets: Mapping[str, int]) -> dict[str, int]:
        """Return for each topic a position at or before the first record of that bucket or a later one.

        The end of the topic if there is none. What lies between the position and that record is older, and bounded.
        """

    @abstractmethod
    async def ends(self, topics: Sequence[str]) -> dict[str, int]:
        """Return the position behind the last entry of each topic: everything acknowledged before is in front of it."""
