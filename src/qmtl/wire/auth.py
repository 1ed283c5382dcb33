"""Who may do what: bearer tokens with scopes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from qmtl.errors import NotAllowedError, UnavailableError, UsageError

AUDIENCE = "qmtl-gateway"
DAG_MANAGER_AUDIENCE = "qmtl-dagmanager"
SUBMIT, READ, OPERATE, CALLBACK = "submit", "read", "operate", "callback"
#: What a person gets; ``callback`` is for the DAG manager.
PERSON = (SUBMIT, READ, OPERATE)

_LEEWAY_S = 5
#: An HS256 secret shorter than this can be guessed, in characters.
_LEAST_SECRET = 32
_LONGEST_OWNER = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    owner: str
    scopes: frozenset[str]

    def need(self, scope: str) -> None:
        """Raise NotAllowedError with status 403 without a scope."""
        if scope not in self.scopes:
            raise NotAllowedError(f"scope {scope!r} is missing", status=403, hint="ask for a token with it")


class Anybody:
    """Lets everybody do everything: for ``--no-auth`` on loopback."""

    def verify(self, _: str | None) -> Principal:
        """Return the one principal there is."""
        return Principal("local", frozenset({*PERSON, CALLBACK}))

    def for_audience(self, _: str) -> Anybody:
        """Return the same."""
        return self


class Shared:
    """Tokens signed with a shared secret, HS256.

    Examples
    --------
    >>> shared = Shared("a" * 32)
    >>> shared.verify(shared.mint("alice", ["read"])).owner
    'alice'
    """

    def __init__(self, secret: str, audience: str = AUDIENCE) -> None:
        if len(secret) < _LEAST_SECRET:
            raise UsageError(f"the secret has less than {_LEAST_SECRET} characters", hint="openssl rand -hex 32")
        self._secret, self._audience = secret, audience

    def verify(self, token: str | None) -> Principal:
        """Return who a token is for; NotAllowedError says what is wrong with it."""
        return _principal(token, lambda text: _decode(text, self._secret, ["HS256"], self._audience))

    def for_audience(self, audience: str) -> Shared:
        """Return the same secret for tokens of another audience."""
        return Shared(self._secret, audience)

    def mint(self, owner: str, scopes: Sequence[str] = PERSON, *, lifetime_s: float = 30 * 86_400.0) -> str:
        """Return a token for somebody, valid for some seconds."""
        now = time.time()
        claims = {"sub": owner, "scope": " ".join(scopes), "aud": self._audience, "iat": int(now)}
        return jwt.encode({**claims, "exp": int(now + lifetime_s)}, self._secret, algorithm="HS256")


class KeySet:
    """Tokens signed by a key of a JWKS document, RS256, ES256 or EdDSA; new keys are fetched when first seen."""

    def __init__(self, url: str, audience: str = AUDIENCE, *, pause_s: float = 5.0) -> None:
        self._url, self._audience = url, audience
        # Tokens that name unknown keys make nobody fetch more often than this.
        self._keys = jwt.PyJWKClient(url, cache_keys=True, lifespan=300, timeout=3, cooldown_duration=pause_s)

    def for_audience(self, audience: str) -> KeySet:
        """Return the same keys for tokens of another audience."""
        return KeySet(self._url, audience)

    def verify(self, token: str | None) -> Principal:
        """Return who a token is for; NotAllowedError says what is wrong with it."""
        return _principal(token, self._decoded)

    def _decoded(self, text: str) -> dict[str, Any]:
        algorithms = ["RS256", "ES256", "EdDSA"]
        if jwt.get_unverified_header(text).get("alg") not in algorithms:  # before a key is fetched for it
            raise jwt.InvalidAlgorithmError("the algorithm is not allowed")
        key = self._keys.get_signing_key_from_jwt(text)
        return _decode(text, key.key, algorithms, self._audience)


Authority = Anybody | Shared | KeySet


async def allowed(authority: Authority, header: str | None, scope: str) -> Principal:
    """Return who an Authorization header is of, if that may be done; NotAllowedError says why not."""
    token = bearer(header)
    remote = isinstance(authority, KeySet)  # its keys may have to be fetched
    found = await asyncio.to_thread(authority.verify, token) if remote else authority.verify(token)
    found.need(scope)
    return found


def new_secret() -> str:
    """Return a fresh secret, 64 hex characters."""
    return secrets.token_hex(32)


def bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header, or None."""
    kind, _, token = (header or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def _decode(token: str, key: Any, algorithms: list[str], audience: str) -> dict[str, Any]:
    required = {"require": ["exp", "sub", "aud"]}
    return jwt.decode(token, key, algorithms=algorithms, audience=audience, leeway=_LEEWAY_S, options=required)  # type: ignore[arg-type]


def _principal(token: str | None, decode: Any) -> Principal:
    if not token:
        raise NotAllowedError("there is no token", hint="send Authorization: Bearer <token>; qmtl reads QMTL_TOKEN")
    try:
        claims = decode(token)
    except jwt.PyJWKClientConnectionError as error:
        raise UnavailableError(f"the key set cannot be fetched: {error}", dependency="keys") from error
    except (jwt.PyJWTError, ValueError) as error:
        raise NotAllowedError(f"the token is not valid: {error}", hint="get a new one") from error
    owner = str(claims["sub"])
    if not owner.isprintable() or not 0 < len(owner) <= _LONGEST_OWNER:
        raise NotAllowedError("the token's subject is no name", hint="get a new one")
    return Principal(owner, frozenset(str(claims.get("scope", "")).split()))
