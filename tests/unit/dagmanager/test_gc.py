"""What may go, and why."""

import msgspec
import pytest

from qmtl.dagmanager import gc
from qmtl.ports.graph_store import StoredSentinel
from qmtl.wire.messages import QueueInfo

DAY = 86_400.0
NOW = 1000 * DAY
QUEUE = QueueInfo("btc_sma_1_v1", "n", "sma", "", "indicator", "ready", 60, [], None, 0, False, 0.0, NOW)
VERSION = StoredSentinel("v1", "", "", 0.0, 0.0, NOW, 0)


@pytest.mark.parametrize(("quality", "days"), [("raw", 8), ("indicator", 33), ("trade", 97)])
def test_a_queue_stays_for_the_time_of_its_class_and_its_grace(quality, days):
    for idle, action in ((days, "keep"), (days + 0.01, "drop")):
        queue = msgspec.structs.replace(QUEUE, quality=quality, released_at=NOW - idle * DAY)
        (removal,) = gc.plan([queue], [], NOW)
        assert removal.action == action
        assert f"{quality} queues stay" in removal.reason


@pytest.mark.parametrize(
    ("more", "reason"), [({"strategies": 2}, "2 live strategies"), ({"pinned": True}, "weight above 0")]
)
def test_what_is_used_or_pinned_stays_for_ever(more, reason):
    (removal,) = gc.plan([msgspec.structs.replace(QUEUE, released_at=0.0, **more)], [], NOW)
    assert removal.action == "keep"
    assert reason in removal.reason


def test_a_version_is_archived_after_its_time():
    old = StoredSentinel("v1", "", "", 0.0, 0.0, NOW - 211 * DAY, 0)
    weighted = StoredSentinel("v2", "", "", 0.5, 0.0, NOW - 999 * DAY, 0)
    used = StoredSentinel("v3", "", "", 0.0, 0.0, None, 1)
    assert [one.action for one in gc.plan([], [VERSION, old, weighted, used], NOW)] == [
        "keep",
        "archive",
        "keep",
        "keep",
    ]


def test_a_busy_broker_gets_half_the_batch():
    topics = [str(k) for k in range(401)]
    assert [len(batch) for batch in gc.batches(topics, 0.8)] == [200, 200, 1]
    assert [len(batch) for batch in gc.batches(topics, 0.81)] == [100, 100, 100, 100, 1]
    assert [topic for batch in gc.batches(topics, 1.0) for topic in batch] == topics
