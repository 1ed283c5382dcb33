"""Talks to a Gateway, for the SDK and the command line: synchronous."""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from qmtl.errors import NotAllowedError, RefusedError, UnavailableError, UnreachableError, UsageError
from qmtl.wire.sessions import Attending, Standing

if TYPE_CHECKING:
    from qmtl.wire.events import Event

DEFAULT_URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 15.0
_BEAT_S = 2.0
_ATTEMPTS = 4
_POLL_S = 0.05
#: States in which nothing more happens by the control plane alone.
RESTING = frozenset({"warming", "running", "stopped", "failed", "rejected", "superseded"})


@dataclass(frozen=True, slots=True)
class Mapped:
    """What became of a submission; ``new`` and ``reused`` count nodes; ``created`` unless it was there already.

    ``borrowed`` are nodes that only read the queue of a near one.
    """

    strategy_id: str
    created: bool
    state: str
    queue_map: dict[str, str]
    new: int
    reused: int
    detail: str | None
    borrowed: frozenset[str] = frozenset()

    @property
    def topics(self) -> dict[str, str]:
        """Topic of each node that has one of its own."""
        return {node: topic for node, topic in self.queue_map.items() if node not in self.borrowed}


def token_file(url: str) -> Path:
    """Return where ``qmtl up`` leaves a token for people of this account."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return state / "qmtl" / "tokens" / f"{host}_{parts.port or 80}"


def find_token(url: str) -> str | None:
    """Return the token for a Gateway: ``QMTL_TOKEN``, or what ``qmtl up`` left on this machine."""
    if token := os.environ.get("QMTL_TOKEN"):
        return token
    try:
        return token_file(url).read_text().strip() or None
    except OSError:
        return None


class GatewayClient:
    """Calls of the REST interface; each is repeated a few times while the Gateway says *later*.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:8000``.
    token : str, optional
        Bearer token; found by :func:`find_token` when left out.

    Raises
    ------
    UnreachableError
        Nobody answers at the URL.
    NotAllowedError, RefusedError, UnavailableError
        What the Gateway answered, from every call.
    """

    def __init__(
        self, url: str = DEFAULT_URL, token: str | None = None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"{url!r} is no URL of a Gateway", hint=f"such as {DEFAULT_URL}")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._parts, self._pause = parts, pause
        self._token = token if token is not None else find_token(self.url)

    def submit(self, document: Mapping[str, Any], run_type: str, meta: Mapping[str, Any]) -> Mapped:
        """Submit a DAG document and wait until its nodes are mapped; one that is there already is returned as it is."""
        body = {"dag_json": document, "run_type": run_type, "meta": meta}
        status, answer = self._call("POST", "/strategies", body, accept=(202, 409))
        if "strategy_id" not in answer:
            raise RefusedError(str(answer.get("title", "conflict")), status=status)
        found = self.wait(answer["strategy_id"])
        return Mapped(
            strategy_id=found["strategy_id"],
            created=status == 202,
            state=found["status"],
            queue_map=found["queue_map"],
            new=found["new"] if status == 202 else 0,
            reused=found["reused"] if status == 202 else len(found["queue_map"]),
            detail=found["detail"],
            borrowed=frozenset(one["node_id"] for one in found["nodes"] if one["action"] == "buffer"),
        )

    def wait(self, strategy_id: str, timeout_s: float = 60.0, states: frozenset[str] = RESTING) -> dict[str, Any]:
        """Return the details of a strategy as soon as it is in one of some states."""
        ends = time.monotonic() + timeout_s
        while True:
            found = self.strategy(strategy_id)
            if found["status"] in states:
                return found
            if time.monotonic() > ends:
                message = f"strategy {strategy_id} is still {found['status']} after {timeout_s:.0f} s"
                raise UnavailableError(message, dependency="gateway", hint="qmtl doctor says which dependency is down")
            self._pause(_POLL_S)

    def strategy(self, strategy_id: str) -> dict[str, Any]:
        """Return everything about a strategy."""
        return self._call("GET", f"/strategies/{quote(strategy_id, safe='')}")[1]

    def strategies(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return strategies, newest first."""
        found: list[dict[str, Any]] = self._call("GET", f"/strategies?limit={limit}")[1]["strategies"]
        return found

    def stop(self, strategy_id: str) -> dict[str, Any]:
        """Stop a strategy and wait until its queues are released."""
        self._call("DELETE", f"/strategies/{quote(strategy_id, safe='')}", accept=(202,))
        return self.wait(strategy_id, states=RESTING - {"warming", "running"})

    def attend(self, message: Attending) -> Standing:
        """Say what a runner is or does, once: who beats says it again soon anyhow."""
        content = msgspec.json.encode(message)
        status, _, answer = self._exchange("POST", "/sessions", content, _BEAT_S)
        if status != 200:
            raise self._refused(status, answer)
        return msgspec.convert(answer, Standing)

    def nodes(self, tags: list[str]) -> list[dict[str, Any]]:
        """Return nodes of the global graph that have all the tags."""
        found: list[dict[str, Any]] = self._call("GET", f"/nodes?{urlencode({'tags': ','.join(tags)})}")[1]["nodes"]
        return found

    def queues_by_tag(self, tags: Sequence[str], interval: int, match: str) -> list[dict[str, Any]]:
        """Return the queues of an interval, in seconds, that have ``any`` or ``all`` of the tags."""
        asked = urlencode({"tags": ",".join(tags), "interval": interval, "match": match})
        found: list[dict[str, Any]] = self._call("GET", f"/queues/by_tag?{asked}")[1]["queues"]
        return found

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues."""
        found: list[dict[str, Any]] = self._call("GET", "/queues")[1]["queues"]
        return found

    def status(self) -> dict[str, Any]:
        """Return how the Gateway's dependencies are."""
        return self._call("GET", "/status")[1]

    def tell(self, event: Event) -> None:
        """Hand an event of the DAG manager over; the same event again changes nothing."""
        self._call("POST", "/callbacks/dag-event", msgspec.to_builtins(event), accept=(202,))

    def _call(
        self, method: str, path: str, body: Any = None, accept: tuple[int, ...] = (200,)
    ) -> tuple[int, dict[str, Any]]:
        content = None if body is None else json.dumps(body).encode()
        for attempt in range(_ATTEMPTS):
            status, headers, answer = self._exchange(method, path, content)
            if status in accept:
                return status, answer
            if status not in {429, 503} or attempt == _ATTEMPTS - 1:
                raise self._refused(status, answer)
            asked = headers.get("Retry-After", "1")
            self._pause(min(5.0, float(asked) if asked.isdigit() else 1.0) * (0.5 + random.random()))  # noqa: S311  (jitter)
        raise AssertionError("the loop returns or raises")

    def _exchange(
        self, method: str, path: str, content: bytes | None, timeout_s: float = _TIMEOUT_S
    ) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=timeout_s)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            hint = "is it running? `qmtl up` starts one; --gateway-url names another"
            raise UnreachableError(f"no Gateway answers at {self.url}: {error}", hint=hint) from error
        finally:
            connection.close()
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {"title": raw[:200].decode(errors="replace")}
        return response.status, dict(response.headers), answer

    def _refused(self, status: int, answer: dict[str, Any]) -> Exception:
        title, hint = str(answer.get("title") or answer.get("detail") or f"HTTP {status}"), answer.get("hint")
        if status in {401, 403}:
            hint = hint or "set QMTL_TOKEN"
            return NotAllowedError(f"the Gateway refused: {title}", status=status, hint=hint)
        if status == 503:
            dependency = str(answer.get("dependency", "gateway"))
            return UnavailableError(f"the Gateway cannot work now: {title}", dependency=dependency, hint=hint)
        pointer = answer.get("pointer")
        place = f" at {pointer}" if pointer else ""
        return RefusedError(f"the Gateway refused{place}: {title}", status=status, pointer=pointer, hint=hint)
