"""Answers in chunks, kept for a while."""

from qmtl.dagmanager.streaming import BYTES, KEPT, KEPT_S, Sessions, chunks
from qmtl.wire.messages import DiffAnswer, map_crc


def answer(count, width=4):
    queue_map = {f"{k:0{width}}": "t" * width for k in range(count)}
    return DiffAnswer(queue_map, dict.fromkeys(queue_map, "new"), "v1", count, 0, 0)


def test_every_item_arrives_once_and_the_last_chunk_sums_up():
    made = chunks("d", answer(1001))
    items = [item for chunk in made for item in chunk.items]
    assert [chunk.seq for chunk in made] == [*range(1, 12)]
    assert {item.node_id: item.topic for item in items} == answer(1001).queue_map
    assert [chunk.HasField("summary") for chunk in made] == [False] * 10 + [True]
    assert made[-1].summary.crc == map_crc(answer(1001).queue_map)


def test_a_chunk_is_bounded_in_bytes():
    made = chunks("d", answer(60, width=60_000))
    assert len(made) > 1
    assert max(chunk.ByteSize() for chunk in made) < BYTES + 1000
    assert sum(len(chunk.items) for chunk in made) == 60


def test_an_empty_answer_is_a_summary():
    (only,) = chunks("d", answer(0))
    assert (len(only.items), only.summary.new) == (0, 0)


def test_sessions_are_bounded_in_time_and_number_and_belong_to_somebody():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    made = chunks("d", answer(1))
    sessions.keep("first", "alice", made)
    assert sessions.find("first", "alice") == made
    assert sessions.find("first", "bob") is None
    now[0] = KEPT_S
    assert sessions.find("first", "alice") is None
    for k in range(KEPT + 10):
        sessions.keep(str(k), "alice", made)
    assert len(sessions) == KEPT
    assert sessions.find("0", "alice") is None
    sessions.drop(str(KEPT))
    assert len(sessions) == KEPT - 1
