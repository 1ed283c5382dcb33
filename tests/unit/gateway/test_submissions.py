"""Bodies of POST /strategies."""

import base64
import gzip
import json

import pytest

from qmtl.errors import DocumentError, RefusedError
from qmtl.gateway.submissions import submission, unpacked
from qmtl.wire.dag import Limits, TooLargeError
from stack.documents import chain


def body(**more):
    return {"dag_json": chain("a"), "run_type": "dry-run", "meta": {"user": "u"}} | more


def read(content, **more):
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    asked = {"owner": "alice", "at": 1.0, "limits": Limits(), "trace": {}, "key": None}
    return submission(raw, **(asked | more))


def test_a_document_may_be_base64():
    plain = read(body())
    coded = read(body(dag_json=base64.b64encode(json.dumps(chain("a")).encode()).decode()))
    assert (plain.key, plain.dag_hash) == (coded.key, coded.dag_hash)
    assert plain.strategy_id != coded.strategy_id


def test_the_key_is_what_is_computed_for_whom_and_how():
    keys = {
        read(body()).key,
        read(body(), owner="bob").key,
        read(body(run_type="live")).key,
        read(body(dag_json=chain("b"))).key,
    }
    assert len(keys) == 4
    assert read(body(meta={"other": 1})).key == read(body()).key
    assert read(body(run_type="dryrun")).key == read(body()).key


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[" * 50_000, ""),
        ({}, ""),
        (body(run_type="sideways"), "/run_type"),
        (body(dag_json="not base64!"), "/dag_json"),
        (body(dag_json={"version": "qmtl.dag/2", "nodes": []}), "/dag_json/version"),
        (body(dag_json={"version": "qmtl.dag/1", "nodes": []}), "/dag_json/nodes"),
        (body(dag_json=7), "/dag_json"),
        (body(meta={"trace": {}}), "/meta/trace"),
        (body(meta={"text": "x" * 20_000}), "/meta"),
        (body(meta=[]), "/meta"),
    ],
)
def test_what_is_wrong_is_refused_with_a_pointer(content, pointer):
    with pytest.raises(DocumentError) as told:
        read(content)
    assert told.value.pointer.startswith(pointer)


def test_a_document_beyond_the_limits_is_too_large():
    with pytest.raises(TooLargeError) as told:
        read(body(), limits=Limits(nodes=1))
    assert told.value.pointer == "/dag_json/nodes"


def test_gzip_is_undone_and_a_bomb_is_stopped():
    assert unpacked(gzip.compress(b"content"), "gzip", 100) == b"content"
    assert unpacked(b"content", "", 100) == b"content"
    with pytest.raises(TooLargeError):
        unpacked(gzip.compress(b"0" * 10**7), "gzip", 1000)
    for damaged in (b"no gzip", gzip.compress(b"content")[:-5]):
        with pytest.raises(DocumentError):
            unpacked(damaged, "gzip", 1000)
    with pytest.raises(RefusedError):
        unpacked(b"content", "br", 1000)
