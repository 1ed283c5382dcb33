"""The Gateway as clients see it: events, streams, idempotency, callbacks, metrics; a process on embedded stores."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
from websockets.sync.client import connect

from qmtl.wire.events import SENTINEL_WEIGHT, event
from stack.documents import chain, entry
from stack.programs import Program
from stack.waiting import wait_until


@pytest.fixture
def service(tmp_path):
    with Program("up", ["up", "--port", "{port}", "--data", str(tmp_path / "data"), "--no-auth"]) as up:
        yield up


@contextmanager
def request(service, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", service.http_port, timeout=20)
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        yield connection.getresponse()
    finally:
        connection.close()


def call(service, method, path, body=None, **headers):
    with request(service, method, path, body, **headers) as response:
        return response.status, json.loads(response.read())


def submit(service, document, run_type="dry-run", **headers):
    return call(service, "POST", "/strategies", {"dag_json": document, "run_type": run_type, "meta": {}}, **headers)


@contextmanager
def listening(service, query=""):
    with connect(f"ws://127.0.0.1:{service.http_port}/ws{query}") as socket:
        yield socket


def events(socket, until, bound=50):
    """Events up to the first that fits."""
    found = []
    while not found or not until(found[-1]):
        assert len(found) < bound
        found.append(json.loads(socket.recv(timeout=10)))
    return found


def mapped(one):
    return one["type"] == "qmtl.strategy.queue_map"


def test_the_first_line_is_the_url_and_then_it_is_ready(tmp_path):
    command = [sys.executable, "-m", "qmtl", "up", "--port", "0", "--data", str(tmp_path), "--no-auth"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        url = up.stdout.readline().strip()
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/status")
        assert json.loads(connection.getresponse().read())["ok"]
        connection.close()
        up.terminate()
        assert up.wait(20) == 0


def test_a_submission_answers_with_its_map_and_its_life_is_told(service):
    with listening(service) as socket:
        status, answer = submit(service, chain("a"))
        assert (status, len(answer["queue_map"])) == (202, 2)
        found = [one for one in events(socket, mapped) if one["subject"]]
    assert {one["specversion"] for one in found} == {"1.0"}
    assert {one["subject"] for one in found} == {answer["strategy_id"]}
    steps = [one["data"]["to"] for one in found if one["type"] == "qmtl.strategy.progress"]
    assert steps == ["diffing", "warming"]
    assert found[-1]["data"]["queue_map"] == answer["queue_map"]


def test_events_are_filtered_by_strategy_and_go_on_behind_the_last_one(service):
    first = submit(service, chain("a"))[1]["strategy_id"]
    with listening(service) as socket:
        second = submit(service, chain("b"))[1]["strategy_id"]
        everything = events(socket, mapped)
    started = next(one for one in everything if one["subject"] == second)
    with listening(service, f"?strategy_id={second}&last_event_id={started['id']}") as socket:
        resumed = events(socket, mapped)
    assert started["id"] not in {one["id"] for one in resumed}
    assert first not in {one["subject"] for one in resumed}
    behind = everything[everything.index(started) + 1 :]
    assert [one["id"] for one in resumed] == [one["id"] for one in behind if one["subject"] in {second, ""}]


def test_the_same_graph_is_409_and_a_repeated_request_is_answered_the_same(service):
    status, first = submit(service, chain("a"), Idempotency_Key="key-1")
    again, repeated = submit(service, chain("a"), Idempotency_Key="key-1")
    assert (status, again) == (202, 202)
    assert repeated == first
    refused, problem = submit(service, chain("a"))
    assert (refused, problem["strategy_id"], problem["queue_map"]) == (409, first["strategy_id"], first["queue_map"])
    assert submit(service, chain("a"), run_type="live")[0] == 202
    assert call(service, "DELETE", f"/strategies/{first['strategy_id']}")[0] == 202
    assert submit(service, chain("a"))[1]["strategy_id"] != first["strategy_id"]


def test_queues_are_found_by_tag_and_watched(service):
    submit(service, chain("a"))
    found = call(service, "GET", "/queues/by_tag?tags=BTC,other&match=any&interval=60")[1]["queues"]
    assert [one["node_type"] for one in found] == ["StreamInput"]
    assert call(service, "GET", "/queues/by_tag?tags=BTC,other&match=all")[1]["queues"] == []
    assert call(service, "GET", "/queues/by_tag?tags=BTC&interval=5m")[1]["queues"] == []
    with request(service, "GET", "/queues/watch?tags=BTC,ETH") as response:
        assert len(json.loads(response.readline())["queues"]) == 1
        other = {"version": "qmtl.dag/1", "nodes": [entry("ether", tags=["ETH"])]}
        submit(service, other)
        assert len(json.loads(response.readline())["queues"]) == 2


def test_callbacks_are_taken_once_and_passed_on(service):
    told = event(SENTINEL_WEIGHT, source="/test", at=1.0, data={"version": "v1", "weight": 0.25}, key="weight")
    body = {name: getattr(told, name) for name in told.__struct_fields__}
    with listening(service) as socket:
        for _ in range(3):
            assert call(service, "POST", "/callbacks/dag-event", body)[0] == 202
        submit(service, chain("a"))
        found = events(socket, mapped)
    assert [one["type"] for one in found].count(SENTINEL_WEIGHT) == 1
    for damage in ({"type": "qmtl.unknown"}, {"data": {"version": "v1", "weight": 7}}, {"specversion": 1}):
        assert call(service, "POST", "/callbacks/dag-event", body | damage)[0] == 422
    with request(service, "GET", "/metrics") as response:
        text = response.read().decode()
    assert 'gateway_sentinel_traffic_ratio{version="v1"} 0.25' in text
    assert 'gateway_submissions_total{outcome="accepted"} 1.0' in text


def test_a_client_that_does_not_read_slows_nobody(service):
    with listening(service), listening(service) as quick:
        burst = [event("qmtl.queue_update", source="/test", at=1.0, data={"text": "x" * 60_000}) for _ in range(400)]
        received = 0
        for one in burst:
            body = {name: getattr(one, name) for name in one.__struct_fields__}
            assert call(service, "POST", "/callbacks/dag-event", body)[0] == 202
            received += json.loads(quick.recv(timeout=10))["id"] == one.id
        assert received == len(burst)


def test_versions_are_given_unless_switched_off(service, tmp_path):
    made = submit(service, chain("a"))[1]["strategy_id"]
    assert call(service, "GET", f"/strategies/{made}")[1]["sentinel_id"].startswith("dag-")
    named = {
        "dag_json": chain("b"),
        "run_type": "live",
        "meta": {"version": {"version": "v7", "commit_hash": "c0ffee"}},
    }
    made = call(service, "POST", "/strategies", named)[1]["strategy_id"]
    assert call(service, "GET", f"/strategies/{made}")[1]["sentinel_id"] == "v7"
    arguments = ["up", "--port", "{port}", "--data", str(tmp_path / "other"), "--no-auth", "--no-sentinels"]
    with Program("up", arguments) as other:
        made = submit(other, chain("a"))[1]["strategy_id"]
        assert call(other, "GET", f"/strategies/{made}")[1]["sentinel_id"] is None


def test_lists_are_filtered_and_paged(service):
    made = [submit(service, chain(name))[1]["strategy_id"] for name in "abc"]
    wait_until(lambda: len(call(service, "GET", "/strategies?state=warming")[1]["strategies"]) == 3, 10)
    page = call(service, "GET", "/strategies?limit=2")[1]["strategies"]
    assert [one["strategy_id"] for one in page] == made[:0:-1]
    rest = call(service, "GET", f"/strategies?before={page[-1]['seq']}")[1]["strategies"]
    assert [one["strategy_id"] for one in rest] == made[:1]
    assert call(service, "GET", f"/strategies/{made[0]}/status")[1] == {"status": "warming"}


def test_two_at_once_in_one_folder_do_not_corrupt_each_other(service, tmp_path):
    arguments = ["up", "--port", "{port}", "--data", str(tmp_path / "data"), "--no-auth"]
    with Program("up", arguments) as other:
        first = submit(service, chain("a"))[1]
        status, second = submit(other, chain("a"))
        assert (status, second["strategy_id"]) == (409, first["strategy_id"])
        submit(other, chain("b"))
        assert len(call(service, "GET", "/nodes")[1]["nodes"]) == 3
