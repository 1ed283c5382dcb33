"""``qmtl-dagm``: its commands against a real process."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from qmtl.backends.dag_manager import Access, RemoteDagManager
from qmtl.errors import UnavailableError
from stack.documents import chain
from stack.programs import Program

SERVER = ["dagm", "server", "--port", "{port}", "--http-port", "{second}"]


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("QMTL_TOKEN", raising=False)


@pytest.fixture
def server(tmp_path, state):
    with Program("dagm", [*SERVER, "--data", str(tmp_path / "data")], ports=2) as dagm:
        yield dagm


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "dag.json"
    made.write_text(json.dumps(chain("a", "b")))
    return made


def dagm(*arguments, code=0):
    program = Path(sys.executable).with_name("qmtl-dagm")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_diff_says_what_is_new_and_a_dry_run_changes_nothing(server, file):
    dry = dagm("diff", "--file", file, "--target", server.address, "--dry-run")
    assert "3 new, 0 reused, 0 buffering; nothing was changed" in dry
    assert dagm("queue-stats", "--target", server.address) == ""
    assert "3 new, 0 reused" in dagm("--target", server.address, "diff", "--file", file)
    again = json.loads(dagm("diff", "--file", file, "--target", server.address, "--json"))
    assert (again["new"], again["reused"], len(again["queue_map"])) == (0, 3, 3)
    stats = json.loads(dagm("queue-stats", "--target", server.address, "--json"))["queues"]
    assert {(one["exists"], one["queue"]["strategies"]) for one in stats} == {(True, 0)}
    assert len(json.loads(dagm("queue-stats", "--tag", "BTC", "--target", server.address, "--json"))["queues"]) == 1


def test_garbage_collection_gives_a_reason_for_each(server, file):
    dagm("diff", "--file", file, "--target", server.address)
    told = dagm("gc", "--dry-run", "--target", server.address)
    assert told.count("no strategy for 0.0 days; ") == 3
    assert "0 of 3 go; nothing was changed" in told
    assert "there is no version 'v9'" in dagm("gc", "--sentinel", "v9", "--target", server.address, code=1 + 1)


def test_a_version_is_mapped_again_and_rolled_back(server, file):
    redo = ["redo-diff", "--sentinel", "v1", "--file", file, "--target", server.address]
    assert "v1: mapped; nothing was changed" in dagm(*redo, "--dry-run")
    assert dagm(*redo).count("new") == 3
    assert "live strategies have it" in dagm("gc", "--dry-run", "--target", server.address)
    assert dagm(*redo, "--rollback").count("released") == 3
    assert "was rolled back" in dagm(*redo, code=2)


def test_the_schema_is_exported(tmp_path):
    dagm("export-schema", "--out", tmp_path / "schema.cypher")
    statements = (tmp_path / "schema.cypher").read_text().splitlines()
    assert len(statements) > 5
    assert all("IF NOT EXISTS" in one and one.endswith(";") for one in statements)


def test_nobody_there_is_exit_code_3_and_a_bad_file_1(file, tmp_path, state):
    told = dagm("diff", "--file", file, "--target", "127.0.0.1:9", code=3)
    assert "no DAG manager answers at 127.0.0.1:9" in told
    assert "hint" in told
    assert "cannot read" in dagm("diff", "--file", tmp_path / "nothing", code=1)


def test_a_document_that_is_not_valid_is_told_with_its_place(server, tmp_path):
    made = chain("a")
    made["nodes"][1]["crc32"] = 1
    (tmp_path / "bad.json").write_text(json.dumps(made))
    told = dagm("diff", "--file", tmp_path / "bad.json", "--target", server.address, code=1)
    assert "the checksum does not match" in told


def certificate(folder, name, issuer=None):
    """Write a key and a certificate; signed by an issuer, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, by = issuer or (key, subject)
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(made.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    return key, subject


@pytest.mark.anyio
async def test_mutual_tls_lets_in_who_shows_a_certificate(tmp_path):
    issuer = certificate(tmp_path, "ca")
    for name in ("server", "client"):
        certificate(tmp_path, name, issuer)
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "server.pem", "server.key"))
    tls = ["--tls-ca", ca, "--tls-cert", cert, "--tls-key", key]
    with Program("dagm", [*SERVER, "--no-auth", "--data", str(tmp_path / "data"), *tls], ports=2) as server:
        target = f"localhost:{server.port}"
        known = Access(ca=tmp_path / "ca.pem", certificate=tmp_path / "client.pem", key=tmp_path / "client.key")
        assert await version(target, known)
        for stranger in (Access(ca=tmp_path / "ca.pem"), Access()):
            with pytest.raises(UnavailableError):
                await version(target, stranger)


async def version(target, access):
    manager = RemoteDagManager(target, access)
    try:
        return await manager.check()
    finally:
        await manager.close()
