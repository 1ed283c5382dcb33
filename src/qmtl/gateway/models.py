"""Shapes of the REST interface, for its OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from qmtl.wire.sessions import Beat, Join, Leave


class SubmissionBody(BaseModel):
    """What to run: the DAG document itself, or its base64."""

    dag_json: dict[str, Any] | str
    run_type: Literal["backtest", "offline", "dry-run", "dryrun", "paper", "live"]
    meta: dict[str, Any] = {}


class Accepted(BaseModel):
    """A strategy was accepted; the map is empty while it is not known yet."""

    strategy_id: str
    queue_map: dict[str, str]


class Status(BaseModel):
    """Where a strategy is in its life."""

    status: str


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    title: str
    status: int
    code: str | None = None
    hint: str | None = None
    pointer: str | None = None
    dependency: str | None = None


class EventBody(BaseModel):
    """A CloudEvent 1.0, structured."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any] = {}
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: str = "application/json"


class Standing(BaseModel):
    """What a session is and has to do; roles are None where the beat has seen them."""

    known: bool
    version: str
    roles: dict[str, int] | None
    strategies: list[str]
    timeout_s: float
    broker_url: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe refusals of a route."""
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": _TITLES[status], "content": content} for status in statuses}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body that the route reads itself."""
    return body_of(model.model_json_schema())


def attending() -> dict[str, Any]:
    """Return the schema of what a runner says, without references."""
    _, known = msgspec.json.schema_components([Join, Beat, Leave])

    def inlined(part: Any) -> Any:
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            return inlined(known[name]) if name else {key: inlined(value) for key, value in part.items()}
        return [inlined(one) for one in part] if isinstance(part, list) else part

    return {"anyOf": [inlined(known[kind.__name__]) for kind in (Join, Beat, Leave)]}


def body_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a body by its schema."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_TITLES = {
    400: "the request is malformed",
    401: "there is no valid token",
    403: "a scope is missing",
    404: "there is no such strategy",
    409: "it exists, or its state forbids this",
    413: "the document is too large",
    415: "the body is of another type",
    422: "the content is not valid; pointer says where",
    429: "too many requests",
    503: "a dependency is down; try again after Retry-After",
}
