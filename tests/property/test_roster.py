"""Whatever comes, goes, freezes and lies: one producer a topic, and no epoch is ever given twice."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qmtl.dagmanager.roster import Assignment, Roster

TIMEOUT, EPOCHS = 50, 1 << 20
SESSIONS = st.sampled_from("abc")
TOPICS = st.sets(st.sampled_from("uvw"), max_size=3)


class Sessions(RuleBasedStateMachine):
    """Runners and a manager that is restarted; every runner remembers what it was told last."""

    def __init__(self):
        super().__init__()
        self.now, self.term = 0, 0
        self.told: dict[str, dict[str, int]] = {}
        self.blocked: dict[str, str] = {}
        self.given: dict[tuple[str, int], str] = {}
        self.latest: dict[str, int] = {}
        self.restart()

    @rule()
    def restart(self):
        self.term += 1
        epochs = itertools.count(self.term * EPOCHS)
        self.roster = Roster(TIMEOUT, epochs, self.now + TIMEOUT // 5 if self.term > 1 else 0)
        self.before: dict[str, str] = {}

    @rule(session=SESSIONS, topics=TOPICS, more=TOPICS)
    def join(self, session, topics, more):
        strategies = {f"s{session}": sorted(topics), f"t{session}": sorted(more)}
        self.roster.join(session, strategies, self.now, holds=self.told.get(session))
        self.look()

    @rule(session=SESSIONS, blocked=st.sampled_from(["", "", "u", "v"]))
    def beat(self, session, blocked):
        if self.roster.knows(session):
            self.told[session] = self.roster.beat(session, self.now, blocked=blocked)
            self.blocked[session] = blocked
            self.look()

    @rule(session=SESSIONS)
    def refuse(self, session):
        if self.roster.knows(session):
            refused = self.told.get(session, {})
            self.told[session] = self.roster.beat(session, self.now, refused=refused)
            self.blocked[session] = ""
            assert not refused.items() & self.told[session].items()
            self.look()

    @rule(session=SESSIONS)
    def leave(self, session):
        self.roster.leave(session)
        self.told.pop(session, None)
        self.look()

    @rule(session=SESSIONS)
    def the_process_dies(self, session):
        self.told.pop(session, None)

    @rule(strategy=st.sampled_from(["sa", "tb", "sc"]))
    def end(self, strategy):
        self.roster.end(strategy)
        self.look()

    @rule(seconds=st.sampled_from([1, 9, 30, 60]))
    def time_passes(self, seconds):
        self.now += seconds
        self.roster.expire(self.now)
        self.look()

    def look(self):
        """See what was assigned: a new epoch is above all others, and an old one stays with whom it was given."""
        while self.roster.news:
            one = self.roster.news.popleft()
            if isinstance(one, Assignment):
                owner = self.given.setdefault((one.topic, one.epoch), one.session)
                assert owner == one.session, f"{one.topic} was given twice under {one.epoch}"
                if one.epoch > self.roster.life and self.latest.get(one.topic, 0) != one.epoch:
                    assert one.epoch > max(self.latest.values(), default=0)
                    self.latest[one.topic] = one.epoch

    @invariant()
    def every_topic_that_anybody_can_compute_has_one_producer(self):
        self.roster.expire(self.now)
        self.look()
        sessions = self.roster.sessions.items()
        held = [(topic, name) for name, session in sessions for topic in session.roles]
        able = {topic for _, session in sessions for topic in session.topics}
        assert len(dict(held)) == len(held)
        assert dict(held).keys() <= able
        assert self.now < self.roster.opens or dict(held).keys() == able
        assert all(self.roster.producer(topic) == name for topic, name in held)
        assert all(session.roles.keys() <= session.topics for _, session in sessions)

    @invariant()
    def nobody_loses_a_role_without_reason(self):
        for topic, name in self.before.items():
            session = self.roster.sessions.get(name)
            if session is not None and topic in session.topics and self.blocked.get(name, "") in {"", topic}:
                assert self.roster.producer(topic) == name
        roles = ((topic, name) for name, one in self.roster.sessions.items() for topic in one.roles)
        self.before = dict(roles)


Sessions.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase
