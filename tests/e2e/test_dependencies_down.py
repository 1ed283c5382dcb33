"""One server at a time is killed, then frozen, for half a minute: what works goes on, the rest waits or says so."""

from __future__ import annotations

import http.client
import json
import os
import time
from pathlib import Path

import pytest

from stack.documents import chain
from stack.fixtures import KINDS, make
from stack.programs import World
from stack.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

OUTAGE_S = 30.0
#: An answer may take so long while a server is silent, in seconds.
ANSWER_S = 12.0
RECOVERY_S = 45.0
#: What /status calls the server.
ROLES = {"redis": "queue", "postgres": "strategies", "neo4j": "graph", "kafka": "broker"}
#: Without these, nothing can be acknowledged; without the others, it is acknowledged and waits.
NEEDED_TO_ACCEPT = {"redis", "postgres"}


def call(world, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", world.programs["gateway"].port, timeout=ANSWER_S)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def submit(world, name):
    return call(world, "POST", "/strategies", {"dag_json": chain(name), "run_type": "dry-run", "meta": {}})


def used(world):
    """Seconds of CPU and MiB of memory of our programs."""
    seconds = memory = 0.0
    for program in world.programs.values():
        fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        pages = int(Path(f"/proc/{program.process.pid}/statm").read_text().split()[1])
        memory += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return seconds, memory


def status(world, identifier):
    return call(world, "GET", f"/strategies/{identifier}/status")[2]["status"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    servers = {name: make(name) for name in KINDS}
    for server in servers.values():
        server.start()
    made = World("real", tmp_path_factory.mktemp("world") / "data", servers)
    made.start()
    yield made
    made.close()
    for server in servers.values():
        server.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("name", ROLES)
def test_an_outage_is_told_survived_and_overcome(world, name, how):
    server = world.servers[name]
    identifier = submit(world, f"{name} {how} before")[2]["strategy_id"]
    wait_until(lambda: status(world, identifier) == "warming", 20)
    cpu, memory = used(world)
    began = time.monotonic()
    server.kill9() if how == "killed" else server.pause()
    answers, roles, number = [], set(), 0
    while time.monotonic() - began < OUTAGE_S:
        number += 1
        answers.append(submit(world, f"{name} {how} {number}"))
        code, _, told = call(world, "GET", "/status")
        roles |= {role for role, one in told["dependencies"].items() if code == 200 and not one["ok"]}
    spent, grown = (now - before for now, before in zip(used(world), (cpu, memory), strict=True))
    server.start() if how == "killed" else server.resume()

    codes = {code for code, _, _ in answers}
    assert codes == ({503} if name in NEEDED_TO_ACCEPT else {202})
    for code, headers, told in answers:
        if code == 503:
            assert int(headers["Retry-After"]) >= 1
            assert told["dependency"] in {ROLES[name], "gateway"}
    assert ROLES[name] in roles
    assert spent < 0.5 * (time.monotonic() - began), "a busy loop"
    assert grown < 200

    accepted = [told["strategy_id"] for code, _, told in answers if code == 202]
    wait_until(lambda: call(world, "GET", "/status")[2]["ok"], RECOVERY_S)
    accepted.append(wait_until(lambda: submit(world, f"{name} {how} after")[2].get("strategy_id"), RECOVERY_S))
    for identifier in accepted:
        wait_until(lambda one=identifier: status(world, one) == "warming", RECOVERY_S)
