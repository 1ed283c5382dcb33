"""What the Gateway asks of the DAG manager, in the same process or over gRPC."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from qmtl.ports.dependency import Dependency
from qmtl.wire.messages import DiffAnswer, DiffRequest, NodeInfo, QueueInfo, QueueQuery
from qmtl.wire.sessions import Attending, NodeStanding, Standing


class DagManager(Dependency):
    """Recognises nodes and maps them to queues. Every call may be repeated."""

    role = "dagmanager"

    @abstractmethod
    async def diff(self, request: DiffRequest) -> DiffAnswer:
        """Map a strategy. DocumentError: it is not valid; UnavailableError: try again later."""

    @abstractmethod
    async def status(self) -> dict[str, Any]:
        """Return how the manager's own dependencies are, as :meth:`qmtl.checkup.Checkup.status` does."""

    @abstractmethod
    async def release(self, strategy_id: str) -> list[str]:
        """End a strategy's use of its queues; return their topics."""

    @abstractmethod
    async def nodes(self, tags: list[str]) -> list[NodeInfo]:
        """Return nodes that have all the tags."""

    @abstractmethod
    async def queues(self, query: QueueQuery) -> list[QueueInfo]:
        """Return queues by tags."""

    @abstractmethod
    async def attend(self, message: Attending) -> Standing:
        """Take what a runner says of itself; return what it has to do. NotAllowedError: the session is another's."""

    @abstractmethod
    async def standings(self, strategy_id: str) -> list[NodeStanding]:
        """Return how the nodes of a strategy stand, by topic; nothing where no runner attends to it."""
