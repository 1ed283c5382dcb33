"""Whatever is sent, from whomever: no crash, no hang, no growth, and an answer that says what is wrong."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import jwt
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from qmtl.backends.dag_manager import Access, RemoteDagManager
from qmtl.errors import DocumentError, NotAllowedError, RefusedError
from qmtl.wire.auth import AUDIENCE, DAG_MANAGER_AUDIENCE, Shared
from qmtl.wire.client import GatewayClient
from qmtl.wire.grpc import dagmanager_pb2 as pb
from qmtl.wire.grpc import dagmanager_pb2_grpc as rpc
from qmtl.wire.messages import DiffRequest, QueueQuery
from stack.documents import chain, fan
from stack.programs import Program
from stack.waiting import wait_until

SECRET = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """``qmtl up`` with authentication, and gRPC on its first port."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "secret").write_text(SECRET)
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    with Program("up", ["up", "--grpc-port", "{port}", "--port", "{second}", "--data", str(folder)], ports=2) as up:
        yield up


def token(**more):
    claims = {"sub": "alice", "scope": "submit read operate", "aud": AUDIENCE, "exp": int(time.time()) + 600} | more
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET, algorithm="HS256")


def call(service, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", service.http_port, timeout=20)
    base = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    sent = {name.replace("_", "-"): value for name, value in (base | headers).items() if value is not None}
    raw = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    try:
        connection.request(method, path, raw, sent)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    return response.status, json.loads(content) if content.startswith((b"{", b"[")) else content


def submission(**more):
    return {"dag_json": chain("a"), "run_type": "dry-run", "meta": {}} | more


def resident(service):
    """Memory of the service in MiB."""
    return int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# ------------------------------------------------------------------------------------------- OpenAPI


def test_generated_requests_never_break_the_gateway(service):
    api = schemathesis.openapi.from_url(f"{service.url}/openapi.json").exclude(path="/queues/watch")  # it has no end
    operations = [one.ok() for one in api.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            send_generated(operation, mode)


def send_generated(operation, mode):
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=40, suppress_health_check=[*HealthCheck], phases=[Phase.explicit, Phase.generate])
    def send(case):
        response = case.call(headers={"Authorization": f"Bearer {token()}"}, timeout=20)
        assert response.status_code < 500, (case.as_curl_command(), response.text)

    try:
        send()
    except Unsatisfiable:  # nothing negative can be made of an operation without parameters
        assert mode is schemathesis.GenerationMode.NEGATIVE


# ----------------------------------------------------------------------------------------- documents


def damaged(**more):
    made = chain("a")
    made["nodes"][1] |= more
    return made


def cyclic():
    made = chain("a", "b")
    made["nodes"][1]["inputs"][0]["node_id"] = made["nodes"][2]["node_id"]
    return made


DOCUMENTS = {
    "malformed": (b"{", 422, ""),
    "no object": (b"[]", 422, ""),
    "deep": (b"[" * 200_000, 422, ""),
    "deep inside": (b'{"run_type": "live", "dag_json": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422, ""),
    "no document": (submission(dag_json=None), 422, "/dag_json"),
    "unknown version": (submission(dag_json={"version": "qmtl.dag/9", "nodes": []}), 422, "/dag_json/version"),
    "no nodes": (submission(dag_json={"version": "qmtl.dag/1", "nodes": []}), 422, "/dag_json/nodes"),
    "twice": (submission(dag_json={"version": "qmtl.dag/1", "nodes": chain()["nodes"] * 2}), 422, "/dag_json/nodes/1"),
    "wrong crc": (submission(dag_json=damaged(crc32=1)), 422, "/dag_json/nodes/1/crc32"),
    "forged id": (submission(dag_json=damaged(node_id="sha3:" + "0" * 64)), 422, "/dag_json/nodes/1/node_id"),
    "changed code": (submission(dag_json=damaged(code_hash="0" * 64)), 422, "/dag_json/nodes/1/node_id"),
    "cycle": (submission(dag_json=cyclic()), 422, "/dag_json/nodes/1/inputs/0"),
    "unknown run type": (submission(run_type="sideways"), 422, "/run_type"),
    "too many nodes": (
        submission(dag_json={"version": "qmtl.dag/1", "nodes": [chain()["nodes"][0]] * 100_001}),
        413,
        "",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_bad_document_is_refused_with_a_pointer(service, name):
    body, status, pointer = DOCUMENTS[name]
    answered, problem = call(service, "POST", "/strategies", body)
    assert (answered, problem["status"]) == (status, status)
    assert problem["pointer"].startswith(pointer)
    assert problem["title"]


def test_oversized_bodies_are_refused_whatever_they_say_of_themselves(service):
    before = resident(service)
    bomb = gzip.compress(b"0" * 200 * 2**20)
    assert call(service, "POST", "/strategies", bomb, Content_Encoding="gzip")[0] == 413
    assert call(service, "POST", "/strategies", b"", Content_Length=str(2**40))[0] == 413
    assert call(service, "POST", "/strategies", b"x", Content_Type="text/plain")[0] == 415
    assert call(service, "POST", "/strategies", b"x", Content_Encoding="br")[0] == 415
    assert resident(service) < before + 400


def test_unknown_things_are_404_and_unknown_states_422(service):
    assert call(service, "GET", "/strategies/s-unknown")[0] == 404
    assert call(service, "DELETE", "/strategies/s-unknown")[0] == 404
    assert call(service, "GET", "/strategies?state=sideways")[0] == 422
    assert call(service, "GET", "/queues/by_tag?tags=")[0] == 422
    assert call(service, "GET", "/queues/by_tag?tags=a&interval=never")[0] == 422


# -------------------------------------------------------------------------------------------- tokens

BAD = {
    "none": lambda: None,
    "nonsense": lambda: "Bearer nonsense",
    "expired": lambda: f"Bearer {token(exp=int(time.time()) - 60)}",
    "forged": lambda: f"Bearer {Shared('f' * 64).mint('mallory')}",
    "other audience": lambda: f"Bearer {token(aud=DAG_MANAGER_AUDIENCE)}",
    "no algorithm": lambda: f"Bearer {jwt.encode({'sub': 'm', 'aud': AUDIENCE, 'exp': 2**40}, None, algorithm='none')}",
}
READS = (
    "/strategies",
    "/strategies/s-1",
    "/strategies/s-1/status",
    "/nodes",
    "/queues",
    "/queues/by_tag?tags=a",
    "/status",
)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_401_everywhere(service, name):
    authorization = BAD[name]()
    for path in READS:
        assert call(service, "GET", path, Authorization=authorization)[0] == 401
    assert call(service, "POST", "/strategies", submission(), Authorization=authorization)[0] == 401
    assert call(service, "DELETE", "/strategies/s-1", Authorization=authorization)[0] == 401
    assert call(service, "POST", "/callbacks/dag-event", {}, Authorization=authorization)[0] == 401
    headers = {"Authorization": authorization} if authorization else {}
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{service.http_port}/ws", additional_headers=headers)


def test_a_missing_scope_is_403(service):
    reader = f"Bearer {token(scope='read')}"
    assert call(service, "POST", "/strategies", submission(), Authorization=reader)[0] == 403
    assert call(service, "DELETE", "/strategies/s-1", Authorization=reader)[0] == 403
    assert call(service, "POST", "/callbacks/dag-event", {})[0] == 403
    submitter = f"Bearer {token(scope='submit')}"
    assert call(service, "GET", "/strategies", Authorization=submitter)[0] == 403
    assert call(service, "GET", "/health", Authorization=None)[0] == 200


def test_a_strategy_is_stopped_by_its_owner_or_an_operator(service):
    made = call(service, "POST", "/strategies", submission(dag_json=chain("owned")))[1]["strategy_id"]
    stranger = f"Bearer {token(sub='bob', scope='submit read')}"
    assert call(service, "DELETE", f"/strategies/{made}", Authorization=stranger)[0] == 403
    assert call(service, "DELETE", f"/strategies/{made}", Authorization=f"Bearer {token(sub='bob')}")[0] == 202


# ---------------------------------------------------------------------------------------------- gRPC


def manager(service, **more):
    secret = Shared(SECRET, more.pop("audience", DAG_MANAGER_AUDIENCE))
    minted = secret.mint("alice", more.pop("scopes", ("submit", "read", "operate")), **more)
    return RemoteDagManager(service.address, Access(token=lambda: minted, attempts=1))


async def asked(service, ask, **more):
    client = manager(service, **more)
    try:
        return await ask(client)
    finally:
        await client.close()


def diff(document, **more):
    request = DiffRequest(
        **({"strategy_id": "grpc", "run_type": "dry-run", "dag": json.dumps(document).encode()} | more)
    )
    return lambda client: client.diff(request)


@pytest.mark.anyio
async def test_grpc_lets_in_whom_it_may(service):
    assert await asked(service, diff(chain("a"), dry_run=True))
    for bad in ({"lifetime_s": -60.0}, {"audience": AUDIENCE}):
        with pytest.raises(NotAllowedError) as told:
            await asked(service, diff(chain("a")), **bad)
        assert told.value.status == 401
    with pytest.raises(NotAllowedError) as told:
        await asked(service, diff(chain("a")), scopes=("read",))
    assert told.value.status == 403


@pytest.mark.anyio
async def test_grpc_refuses_bad_documents_with_a_pointer(service):
    with pytest.raises(DocumentError) as told:
        await asked(service, diff(damaged(crc32=1)))
    assert told.value.pointer == "/nodes/1/crc32"
    with pytest.raises(DocumentError):
        await asked(service, diff(chain("a"), strategy_id=""))


@pytest.mark.anyio
async def test_a_large_document_travels_in_parts_and_its_answer_in_chunks(service):
    answer = await asked(service, diff(fan(5000), dry_run=True))
    assert len(answer.queue_map) == 5000


@pytest.mark.anyio
async def test_stats_are_limited_to_five_a_second(service):
    async def many(client):
        return await asyncio.gather(*(client.stats(QueueQuery()) for _ in range(12)), return_exceptions=True)

    refused = [one for one in await asked(service, many) if isinstance(one, RefusedError)]
    assert 6 <= len(refused) <= 8


def test_garbage_over_grpc_breaks_nothing(service):
    dice = random.Random(7)
    methods = [
        f"/{one.full_name}/{method.name}" for one in pb.DESCRIPTOR.services_by_name.values() for method in one.methods
    ]
    before = resident(service)
    with grpc.insecure_channel(service.address) as channel:
        for k in range(600):
            calls = channel.stream_stream(dice.choice([*methods, "/no.such/Method"]))
            messages = [dice.randbytes(dice.choice((0, 1, 10, 1000))) for _ in range(1 + dice.randrange(3))]
            metadata = [("authorization", f"Bearer {Shared(SECRET, DAG_MANAGER_AUDIENCE).mint('m')}")] if k % 2 else []
            with pytest.raises(grpc.RpcError) as told:
                raise_status(calls(iter(messages), timeout=15, metadata=metadata))
            assert told.value.code() not in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
        assert rpc.DiffServiceStub(channel).Ping(pb.PingRequest(), timeout=5).version
    assert resident(service) < before + 100


def raise_status(call):
    for _ in call:
        pass
    raise Finished(call.code())


class Finished(grpc.RpcError):
    """A call that ended well."""

    def __init__(self, code):
        super().__init__()
        self._code = code

    def code(self):
        return self._code


def test_diffs_that_are_never_acknowledged_hold_nothing_for_long(service):
    request = pb.DiffRequest(strategy_id="silent", run_type="dry-run", dry_run=True, dag=json.dumps(fan(2500)).encode())
    metadata = [("authorization", f"Bearer {Shared(SECRET, DAG_MANAGER_AUDIENCE).mint('m')}")]
    before = resident(service)

    def silent(channel):
        def messages():
            yield pb.DiffMessage(request=request)
            time_out.wait(30)

        call = rpc.DiffServiceStub(channel).Diff(messages(), timeout=60, metadata=metadata)
        received = 0
        try:
            for _ in call:
                received += 1
        except grpc.RpcError as error:
            return received, error.code()
        return received, None

    time_out = threading.Event()
    began = time.monotonic()
    with grpc.insecure_channel(service.address) as channel, ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(silent, channel) for _ in range(20)]
        GatewayClient(service.url, token()).nodes([])  # others are served meanwhile
        answers = [one.result(timeout=40) for one in waiting]
        time_out.set()
    assert {received for received, _ in answers} == {10}
    assert {code for _, code in answers} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert time.monotonic() - began < 30
    text = call(service, "GET", "/metrics")[1].decode()
    assert "diff_chunk_ack_timeout_total 20.0" in text
    assert resident(service) < before + 150


@pytest.mark.anyio
async def test_a_diff_goes_on_where_it_was_cut(service):
    minted = Shared(SECRET, DAG_MANAGER_AUDIENCE).mint("alice")
    metadata = (("authorization", f"Bearer {minted}"),)
    request = pb.DiffRequest(strategy_id="cut", run_type="dry-run", dry_run=True, dag=json.dumps(fan(1500)).encode())
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = rpc.DiffServiceStub(channel)
        first = stub.Diff(metadata=metadata, timeout=30)
        await first.write(pb.DiffMessage(request=request))
        chunks = [await first.read() for _ in range(4)]
        first.cancel()
        again = stub.Diff(metadata=metadata, timeout=30)
        await again.write(pb.DiffMessage(resume=pb.Resume(diff_id=chunks[-1].diff_id, after=chunks[-1].seq)))
        await again.done_writing()
        chunks += [chunk async for chunk in again]
        assert [chunk.seq for chunk in chunks] == [*range(1, 16)]
        assert sum(len(chunk.items) for chunk in chunks) == 1500
        stranger = (("authorization", f"Bearer {Shared(SECRET, DAG_MANAGER_AUDIENCE).mint('bob')}"),)
        stolen = stub.Diff(metadata=stranger, timeout=30)
        await stolen.write(pb.DiffMessage(resume=pb.Resume(diff_id=chunks[0].diff_id, after=0)))
        with pytest.raises(grpc.aio.AioRpcError):
            assert [chunk async for chunk in stolen] == []


# ---------------------------------------------------------------------------------------------- code


def test_nothing_of_a_submission_is_imported_evaluated_or_unpickled(tmp_path):
    program = Path(__file__).with_name("audited.py")
    environment = os.environ | {"PYTHONPATH": str(program.parents[1])}
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seen"] == []
    assert len(told["strategies"]) == 6
    assert set(told["strategies"]) == {"warming"}


# --------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize("command", [["up"], ["gateway"], ["dagm", "server"]])
def test_nobody_listens_beyond_loopback_without_authentication(command, tmp_path):
    arguments = [*command, "--host", "0.0.0.0", "--no-auth", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        [sys.executable, "-m", "qmtl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "--no-auth" in done.stderr
    assert "hint" in done.stderr


def test_a_folder_that_cannot_be_one_is_told(tmp_path):
    (tmp_path / "file").touch()
    for more in ([], ["--no-auth"]):
        command = [sys.executable, "-m", "qmtl", "up", "--port", "0", "--data", str(tmp_path / "file"), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode in {1, 2}
        assert "Traceback" not in done.stderr
        assert "hint" in done.stderr


def test_it_is_alive_after_all_of_this(service):
    assert wait_until(lambda: call(service, "GET", "/status")[1]["ok"], 10)
