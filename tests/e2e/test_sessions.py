"""Runners' sessions over HTTP: who produces what, through deaths, restarts and outages of everybody else."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import signal
import subprocess

import pytest
from websockets.sync.client import connect

from qmtl.errors import NotAllowedError, QmtlError, UnavailableError
from qmtl.wire.auth import Shared
from qmtl.wire.client import GatewayClient
from qmtl.wire.sessions import Beat, Join, Leave, NodeProgress
from stack.documents import chain
from stack.programs import QMTL, Program
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

TERM = 1 << 20
SECRET = "s" * 64


class Attendant:
    """What a runner says; it beats when it is told to."""

    def __init__(self, url, name, *names, token=""):
        self.client, self.name = GatewayClient(url, token), name
        self.mapped = self.client.submit(chain(*names), "dryrun", {"name": name})
        self.strategy = self.mapped.strategy_id
        self.roles, self.seen = {}, ""

    @property
    def topics(self):
        return [*self.mapped.queue_map.values()]

    def join(self, **more):
        return self._took(self.client.attend(Join(self.name, {self.strategy: self.topics}, f"{self.name}:1", **more)))

    def beat(self, **more):
        return self._took(self.client.attend(Beat(self.name, self.seen, **more)))

    def leave(self):
        return self._took(self.client.attend(Leave(self.name)))

    def _took(self, standing):
        self.seen = standing.version
        self.roles = self.roles if standing.roles is None else standing.roles
        return standing

    def said(self):
        """Beat, or say what the answer was; the Gateway may be away."""
        try:
            return self.beat()
        except QmtlError as error:
            return error

    def nodes(self):
        return {one["name"]: one for one in self.client.strategy(self.strategy)["nodes"]}


@pytest.fixture
def pair(world):
    """Two strategies that share a stream and a node, attended to; the first came first."""
    first, second = Attendant(world.url, "first", "one", "two"), Attendant(world.url, "second", "one", "three")
    for one in (first, second):
        one.join()
    return first, second


def test_the_first_produces_what_both_have_and_the_second_takes_over_when_it_dies(world, pair):
    first, second = pair
    assert set(first.roles) == set(first.topics)
    assert set(second.roles) == set(second.topics) - set(first.topics)
    assert second.beat().roles is None, "it has seen them"
    before = dict(first.roles)
    wait_until(lambda: second.beat() and set(second.roles) == set(second.topics), 12.0)
    shared = set(first.topics) & set(second.topics)
    assert all(second.roles[topic] > max(before.values()) for topic in shared)
    assert not first.beat().known
    first.join(holds=before)
    assert set(first.roles) == set(first.topics) - shared, "what nobody took it keeps"
    assert first.roles.items() <= before.items()
    first.leave()
    assert not first.beat().known
    nodes = second.nodes()
    assert {one["producer"] for one in nodes.values()} == {"second"}


def test_a_strategy_tells_how_its_nodes_stand_and_runs_when_they_are_ready(pair):
    first, second = pair
    topic = first.mapped.queue_map
    told = first.client.strategy(first.strategy)
    assert told["status"] == "warming"
    assert {one["state"] for one in told["nodes"]} == {"waiting"}
    ready = {one: NodeProgress("ready", 600, 10, 10, epoch) for one, epoch in first.roles.items()}
    first.beat(progress=ready, ready=[first.strategy])
    assert first.client.strategy(first.strategy)["status"] == "running"
    first.beat(ready=[first.strategy])
    assert [one["cause"] for one in first.client.strategy(first.strategy)["log"]].count("warm") == 1
    second.beat(progress={topic: NodeProgress("warming", 480, 8, 50, reason="reads", eta_s=2.5) for topic in ready})
    one = second.nodes()["one"]
    assert (one["state"], one["done"], one["need"], one["eta_s"], one["reason"]) == ("warming", 8, 50, 2.5, "reads")
    assert (one["producer"], one["host"], one["epoch"]) == ("first", "first:1", first.roles[one["topic"]])
    assert (one["last_bucket"], one["lag_s"]) == (480, 120)
    assert set(first.nodes()) == {"price", "one", "two"}
    assert len(topic) == 3


def test_a_strategy_that_is_stopped_is_attended_to_no_more(pair):
    first, second = pair
    first.client.stop(first.strategy)
    standing = first.beat()
    assert (standing.known, standing.strategies, standing.roles) == (True, [], {})
    second.beat()
    assert set(second.roles) == set(second.topics)
    assert first.join().strategies == []
    assert {one["state"] for one in first.nodes().values()} == {None}


def test_a_manager_that_was_killed_moves_nothing(world, pair):
    first, second = pair
    before = dict(first.roles), dict(second.roles)
    manager = world.programs.get("dagm") or world.programs["gateway"]
    manager.kill9()
    manager.start()
    wait_until(lambda: not isinstance(second.said(), QmtlError), 10.0)
    second.join(holds=before[1])
    assert not first.beat().known
    first.join(holds=before[0])
    assert (first.roles, second.roles) == before
    wait_until(lambda: first.beat() and second.beat() and first.beat(), 2.0)
    assert (first.roles, second.roles) == before
    third = Attendant(world.url, "third", "four")
    third.join()
    wait_until(lambda: third.beat() and third.roles, 5.0)
    assert min(third.roles.values()) // TERM == max(before[0].values()) // TERM + 1, "a term for each life"


def sessions(program):
    connection = http.client.HTTPConnection("127.0.0.1", program.http_port, timeout=5)
    connection.request("GET", "/metrics")
    (line,) = [one for one in connection.getresponse().read().decode().splitlines() if one.startswith("sessions ")]
    connection.close()
    return float(line.split()[1])


@pytest.mark.parametrize("world", ["real"], indirect=True)
def test_a_gateway_that_is_away_for_long_moves_nothing(world, pair):
    first, second = pair
    before = dict(first.roles), dict(second.roles)
    world.programs["gateway"].kill9()
    with pytest.raises(QmtlError):
        first.beat()
    wait_until(lambda: sessions(world.programs["dagm"]) == 0, 12.0)
    world.programs["gateway"].start()
    assert not second.beat().known
    second.join(holds=before[1])
    first.join(holds=before[0])
    assert (first.roles, second.roles) == before


@pytest.mark.parametrize("world", ["real"], indirect=True)
def test_while_the_manager_is_dead_runners_are_told_to_come_again(world, pair):
    first, _ = pair
    world.programs["dagm"].kill9()
    with pytest.raises(UnavailableError) as raised:
        first.beat()
    assert raised.value.dependency == "dagmanager"
    connection = http.client.HTTPConnection("127.0.0.1", world.programs["gateway"].http_port, timeout=5)
    body = json.dumps({"type": "beat", "session_id": "first"})
    connection.request("POST", "/sessions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 503
    assert int(response.headers["Retry-After"]) >= 1
    connection.close()
    assert {one["producer"] for one in first.nodes().values()} == {None}, "details are given all the same"


def test_what_happens_to_sessions_is_told(world):
    found = []

    def until(kind):
        while not found or found[-1]["type"] != kind:
            found.append(json.loads(socket.recv(timeout=20)))
        return found[-1]["subject"], found[-1]["data"]

    with connect(f"ws://127.0.0.1:{world.programs['gateway'].http_port}/ws") as socket:
        first = Attendant(world.url, "first", "one")
        upsert = until("qmtl.tagquery.upsert")[1]["queues"]
        assert [(one["tags"], one["interval"]) for one in upsert] == [(["BTC", "price"], 60)]
        assert first.mapped.queue_map[upsert[0]["node_id"]] == upsert[0]["topic"]
        first.join()
        assert until("qmtl.node.assigned")[1] == {"session": "first", "host": "first:1", "topics": first.roles}
        stream, node = first.topics
        first.beat(progress={stream: NodeProgress("ready", 60)})
        expected = (first.strategy, {"topics": [stream], "ready": 1, "of": 2})
        assert until("qmtl.node.ready") == expected
        first.beat(progress={node: NodeProgress("quarantined", reason="QM-DETERMINISM: it gave two answers")})
        subject, data = until("qmtl.node.quarantined")
        assert (subject, data["topic"]) == (first.strategy, node)
        assert until("qmtl.session.expired")[1]["topics"] == sorted(first.topics)


def test_nobody_speaks_for_another(tmp_path, monkeypatch):
    monkeypatch.setenv("QMTL_SECRET", SECRET)
    with Program("up", ["up", "--port", "{port}", "--data", str(tmp_path / "data")]) as up:
        alice = Attendant(up.url, "a", "one", token=Shared(SECRET).mint("alice", ["submit", "read"]))
        bob = Attendant(up.url, "b", "one", token=Shared(SECRET).mint("bob", ["submit", "read"]))
        alice.join()
        standing = bob.client.attend(Join("b", {alice.strategy: alice.topics, "s-unknown": ["x"]}))
        assert (standing.known, standing.strategies, standing.roles) == (True, [], {})
        with pytest.raises(NotAllowedError) as raised:
            bob.client.attend(Leave("a"))
        assert raised.value.status == 403
        assert alice.beat().known
        reader = GatewayClient(up.url, Shared(SECRET).mint("alice", ["read"]))
        with pytest.raises(NotAllowedError):
            reader.attend(Beat("a"))
        others = bob.client.attend(Join("b", {bob.strategy: [*bob.topics, "somebody-elses"]}))
        assert "somebody-elses" not in others.roles


@pytest.mark.parametrize("world", ["embedded"], indirect=True)
def test_status_watches_nodes_line_by_line_and_in_place_on_a_terminal(world, pair):
    first, second = pair
    written, terminal = pty.openpty()
    command = [*QMTL, "status", "--watch", "--gateway-url", world.url]
    wide = world.environment | {"COLUMNS": "200", "TERM": "xterm"}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=world.environment) as lines,
        subprocess.Popen([*command], stdout=terminal, stderr=terminal, env=wide) as drawn,
    ):
        ready = {topic: NodeProgress("ready", 600, 10, 10, epoch) for topic, epoch in first.roles.items()}
        os.set_blocking(lines.stdout.fileno(), False)
        os.set_blocking(written, False)
        seen = {lines.stdout.fileno(): b"", written: b""}

        def shown(*texts):
            for name in seen:
                with contextlib.suppress(BlockingIOError):
                    seen[name] += os.read(name, 1 << 20)
            second.beat()
            return all(text in one for one in seen.values() for text in texts)

        wait_until(lambda: first.beat() and shown(b"first:1", b"waiting", b"three"), 20.0)
        first.beat(progress=ready)
        wait_until(lambda: shown(b"ready", b"1970-01-01T00:10:00Z"), 20.0)
        first.leave()
        wait_until(lambda: shown(b"second:1"), 20.0)
        for one in (lines, drawn):
            one.send_signal(signal.SIGINT)
            assert one.wait(10) == 0
    os.close(written)
    os.close(terminal)
    rewound = b"\x1b[1A"
    assert rewound in seen[written]
    assert next(iter(seen.values())).count(b"three") < 5, "a line for each change, not for each look"
    once = world.command("status", second.strategy, "--gateway-url", world.url)
    assert "second:1" in once.stdout
