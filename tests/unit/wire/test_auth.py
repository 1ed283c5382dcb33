"""Who is let in."""

import base64
import http.server
import json
import threading
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from qmtl.errors import NotAllowedError, UnavailableError, UsageError
from qmtl.wire.auth import AUDIENCE, DAG_MANAGER_AUDIENCE, Anybody, KeySet, Shared, bearer

SECRET = "s" * 32
CLAIMS = {"sub": "alice", "scope": "read", "aud": AUDIENCE}


def signed(claims, key=SECRET, algorithm="HS256", **headers):
    return jwt.encode({"exp": int(time.time()) + 60, **claims}, key, algorithm=algorithm, headers=headers or None)


def unsigned(claims):
    parts = ({"alg": "none", "typ": "JWT"}, {"exp": int(time.time()) + 60, **claims})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."


def test_a_token_says_who_and_what():
    principal = Shared(SECRET).verify(signed(CLAIMS))
    assert (principal.owner, principal.scopes) == ("alice", {"read"})
    principal.need("read")
    with pytest.raises(NotAllowedError) as told:
        principal.need("operate")
    assert told.value.status == 403


BAD = {
    "none": lambda: None,
    "empty": lambda: "",
    "nonsense": lambda: "nonsense",
    "no JSON": lambda: "a.b.c",
    "expired": lambda: signed(CLAIMS | {"exp": int(time.time()) - 60}),
    "forged": lambda: signed(CLAIMS, key="t" * 32),
    "other audience": lambda: signed(CLAIMS | {"aud": DAG_MANAGER_AUDIENCE}),
    "no audience": lambda: signed({name: value for name, value in CLAIMS.items() if name != "aud"}),
    "nobody": lambda: signed({name: value for name, value in CLAIMS.items() if name != "sub"}),
    "other algorithm": lambda: signed(CLAIMS, key=SECRET * 2, algorithm="HS384"),
    "no algorithm": lambda: unsigned(CLAIMS),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_expired_forged_or_for_another_is_refused(name):
    with pytest.raises(NotAllowedError) as told:
        Shared(SECRET).verify(BAD[name]())
    assert told.value.status == 401


def test_a_short_secret_is_refused():
    with pytest.raises(UsageError):
        Shared("short")


def test_one_secret_mints_for_several_audiences():
    token = Shared(SECRET).for_audience(DAG_MANAGER_AUDIENCE).mint("gateway", ["submit"])
    assert Shared(SECRET, DAG_MANAGER_AUDIENCE).verify(token).owner == "gateway"
    with pytest.raises(NotAllowedError):
        Shared(SECRET).verify(token)


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer t", "t"), ("bearer t", "t"), ("Basic t", None), ("Bearer ", None), (None, None)]
)
def test_the_header(header, token):
    assert bearer(header) == token


def test_anybody_may_do_everything():
    assert Anybody().verify(None).scopes == {"submit", "read", "operate", "callback"}


@pytest.fixture
def key_server():
    keys = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = json.dumps({"keys": [*keys.values()]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield keys, f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    thread.join()
    server.server_close()


def published(name):
    private = rsa.generate_private_key(65537, 2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    return private, public | {"kid": name, "use": "sig", "alg": "RS256"}


def test_keys_rotate(key_server):
    keys, url = key_server
    authority = KeySet(url, pause_s=0.0)
    old, keys["old"] = published("old")
    assert authority.verify(signed(CLAIMS, old, "RS256", kid="old")).owner == "alice"
    new, keys["new"] = published("new")
    assert authority.verify(signed(CLAIMS, new, "RS256", kid="new")).owner == "alice"
    stranger, _ = published("stranger")
    for token in (
        signed(CLAIMS, stranger, "RS256", kid="new"),
        signed(CLAIMS, stranger, "RS256", kid="stranger"),
        signed(CLAIMS),
        unsigned(CLAIMS),
    ):
        with pytest.raises(NotAllowedError):
            authority.verify(token)


def test_keys_that_cannot_be_fetched_are_no_fault_of_the_token():
    private, _ = published("one")
    with pytest.raises(UnavailableError):
        KeySet("http://127.0.0.1:9/keys").verify(signed(CLAIMS, private, "RS256", kid="one"))
