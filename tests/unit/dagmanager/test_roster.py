"""Who computes what: one producer a topic, who stays as long as it can, under epochs that grow."""

import itertools

import pytest

from qmtl.dagmanager.roster import Assignment, Expiry, Roster
from qmtl.wire.sessions import NodeProgress

TIMEOUT = 50


@pytest.fixture
def roster():
    return Roster(TIMEOUT, itertools.count(100))


def test_the_first_that_can_produces_and_the_next_takes_over_when_it_dies(roster):
    roster.join("a", {"s": ["x", "y"]}, 0)
    roster.join("b", {"t": ["x", "z"]}, 1)
    assert roster.beat("a", 2) == {"x": 101, "y": 102}
    assert roster.beat("b", 30) == {"z": 103}
    assert roster.expire(51) == []
    assert roster.expire(52) == ["a"]
    assert not roster.knows("a")
    assert roster.beat("b", 53) == {"x": 104, "z": 103}
    assert [one for one in roster.news if isinstance(one, Expiry)] == [Expiry("a", "", ("x", "y"), 2)]
    assert roster.news[-1] == Assignment("x", "b", 104, silent_since=2)


def test_who_leaves_is_followed_at_once_and_nobody_is_moved_for_who_comes(roster):
    roster.join("a", {"s": ["x"]}, 0)
    roster.join("b", {"t": ["x"]}, 1)
    roster.join("c", {"u": ["x"]}, 1)
    roster.leave("a")
    assert roster.beat("b", 2) == {"x": 102}
    roster.join("a", {"s": ["x"]}, 3)
    assert (roster.beat("a", 4), roster.beat("b", 4)) == ({}, {"x": 102})


def test_a_session_that_comes_back_keeps_its_epoch_only_if_nobody_had_the_topic_since(roster):
    roster.join("a", {"s": ["x", "y"]}, 0)
    roster.join("b", {"t": ["x"]}, 1)
    held = roster.beat("a", 2)
    roster.beat("b", 40)
    roster.expire(60)
    roster.join("a", {"s": ["x", "y"]}, 61, holds=held)
    assert roster.beat("a", 62) == {"y": held["y"]}
    roster.leave("a")
    roster.join("c", {"v": ["y"]}, 63, holds=held)
    assert roster.beat("c", 64)["y"] > held["y"], "an epoch belongs to one session"


@pytest.mark.parametrize("epoch", [0, 100, 101, 2**52])
def test_an_epoch_that_no_earlier_life_can_have_given_is_not_kept(roster, epoch):
    roster.join("a", {"s": ["x"]}, 0, holds={"x": epoch})
    assert roster.beat("a", 1) == {"x": 101}


def test_after_a_restart_holders_come_first_and_keep_what_they_have():
    roster = Roster(TIMEOUT, itertools.count(200), opens=1010)
    roster.join("b", {"t": ["x", "y"]}, 1000)
    assert roster.beat("b", 1005) == {}
    roster.join("a", {"s": ["x"]}, 1006, holds={"x": 101})
    assert roster.beat("a", 1007) == {"x": 101}
    assert roster.beat("b", 1010) == {"y": 201}, "the grace is over"


def test_when_all_were_cut_off_holders_come_first_again(roster):
    roster.join("a", {"s": ["x"]}, 0)
    roster.join("b", {"t": ["x"]}, 0)
    assert roster.expire(60) == ["a", "b"]
    roster.join("b", {"t": ["x"]}, 70)
    roster.join("a", {"s": ["x"]}, 71, holds={"x": 101})
    assert (roster.beat("a", 90), roster.beat("b", 90)) == ({"x": 101}, {})


def test_one_that_died_alone_is_followed_without_a_grace(roster):
    roster.join("a", {"s": ["x"]}, 0)
    assert roster.expire(60) == ["a"]
    roster.join("b", {"s": ["x"]}, 70)
    assert roster.beat("b", 70) == {"x": 102}


def test_when_the_last_strategy_that_uses_a_topic_ends_nobody_produces_it(roster):
    roster.join("a", {"s": ["x"], "t": ["x", "y"]}, 0)
    roster.end("t")
    assert roster.beat("a", 1) == {"x": 101}
    version = roster.version("a")
    roster.end("s")
    assert (roster.beat("a", 2), roster.producer("x")) == ({}, None)
    assert roster.version("a") != version
    roster.join("a", {"s": ["x"]}, 3)
    assert roster.beat("a", 4) == {}, "an end is for good"


def test_joining_again_replaces_what_a_session_can_do(roster):
    roster.join("a", {"s": ["x"]}, 0, host="h:1")
    roster.join("b", {"t": ["x"]}, 0)
    roster.beat("a", 1, {"x": NodeProgress("ready")})
    roster.join("a", {"u": ["z"]}, 2)
    assert (roster.beat("a", 3), roster.beat("b", 3)) == ({"z": 103}, {"x": 102})
    assert (roster.sessions["a"].progress, roster.sessions["a"].host) == ({}, "h:1")


def test_who_is_blocked_keeps_that_topic_and_what_nobody_else_can(roster):
    roster.join("a", {"s": ["slow", "shared", "own"]}, 0)
    roster.join("b", {"t": ["shared"]}, 0)
    assert set(roster.beat("a", 1, blocked="slow")) == {"slow", "own"}
    assert set(roster.beat("b", 2)) == {"shared"}
    assert set(roster.beat("a", 3)) == {"slow", "own"}, "what has moved stays where it is"


def test_when_all_are_blocked_nothing_moves(roster):
    roster.join("a", {"s": ["x", "slow"]}, 0)
    roster.join("b", {"t": ["x", "slow"]}, 0)
    roster.beat("b", 1, blocked="slow")
    assert roster.beat("a", 2, blocked="slow") == {"slow": 101, "x": 102}


def test_an_epoch_that_the_log_refuses_is_followed_by_another(roster):
    roster.join("a", {"s": ["x"]}, 0)
    assert roster.beat("a", 1, refused={"x": 101, "other": 5}) == {"x": 102}
    assert roster.beat("a", 2, refused={"x": 101}) == {"x": 102}, "that was answered"


def test_nobody_dies_of_a_silence_of_the_manager(roster):
    roster.join("a", {"s": ["x"]}, 0)
    roster.pardon(1000)
    assert roster.expire(1049) == []
    assert roster.expire(1050) == ["a"]


def test_versions_change_with_roles_and_strategies_and_never_come_back(roster):
    seen = []
    for step in (
        lambda: roster.join("a", {"s": ["x"]}, 0),
        lambda: roster.join("b", {"t": ["x"]}, 0),
        lambda: roster.leave("a"),
        lambda: roster.end("t"),
        lambda: roster.leave("b"),
        lambda: roster.join("b", {"v": ["x"]}, 1),
    ):
        step()
        seen.append(roster.version("b") if roster.knows("b") else "")
    assert len(set(seen) - {""}) == 4
    roster.beat("b", 2, {"x": NodeProgress("ready", 60)})
    assert roster.version("b") == seen[-1]
