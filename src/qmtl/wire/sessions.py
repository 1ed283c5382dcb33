"""What runners and the control plane say to each other about who computes what."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

#: What every reader of JSON reads exactly.
_EXACT = 2**53
Count = Annotated[int, msgspec.Meta(ge=0, le=_EXACT)]
Epoch = Count
Bucket = Annotated[int, msgspec.Meta(ge=-_EXACT, le=_EXACT)]
NodeState = Literal["waiting", "warming", "ready", "stalled", "quarantined"]


class Join(msgspec.Struct, frozen=True, tag="join"):
    """A runner has strategies: for each, the topics whose nodes it can compute. Joining again replaces them.

    Attributes
    ----------
    session_id : str
        Chosen by the runner, new for each process.
    strategies : dict of strategy id to topics
    host : str
        Where the runner is, for people: ``machine:pid``.
    holds : dict of topic to epoch
        What it produces now, as another life of the manager said: so a manager that restarts moves nothing.
    owner : str
        Set by the Gateway, in every message: nobody speaks for another's session.
    """

    session_id: str
    strategies: dict[str, list[str]]
    host: str = ""
    holds: dict[str, Epoch] = {}
    owner: str = ""


class NodeProgress(msgspec.Struct, frozen=True, array_like=True):
    """How one runner stands with one topic.

    Attributes
    ----------
    state : NodeState
    bucket : int or None
        Last bucket that it has computed or read, seconds UTC.
    done, need : int
        Bars of the base streams that the node has had, of those that its first output needs.
    epoch : int
        Under which it computes; 0 where it reads.
    reason : str
        Why it is in this state, where that needs a word.
    eta_s : float or None
        Seconds until it is ready, where that can be told.
    """

    state: NodeState
    bucket: Bucket | None = None
    done: Count = 0
    need: Count = 0
    epoch: Epoch = 0
    reason: str = ""
    eta_s: float | None = None


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """A runner lives.

    Attributes
    ----------
    session_id : str
    seen : str
        Version of the last standing that it knows.
    progress : dict of topic to NodeProgress
        Only what has changed since the last beat that was answered.
    ready : list of strategy ids
        All of their nodes have had their first output.
    blocked : str
        Topic whose user function has not returned for long: the runner can do nothing else meanwhile, so what else
        it produces should go to others.
    refused : dict of topic to epoch
        Topics whose log knows a newer epoch than the one that the runner was given: it needs another.
    """

    session_id: str
    seen: str = ""
    progress: dict[str, NodeProgress] = {}
    ready: list[str] = []
    blocked: str = ""
    refused: dict[str, Epoch] = {}
    owner: str = ""


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """A runner ends in order: its roles go to others at once."""

    session_id: str
    owner: str = ""


class Standing(msgspec.Struct, frozen=True):
    """What a session is and has to do.

    Attributes
    ----------
    known : bool
        False: the session expired, or the manager is new: join again.
    version : str
        Changes whenever the rest does.
    roles : dict of topic to epoch, or None
        What it produces; None while that is what it has seen already.
    strategies : list of str
        Its strategies that still live.
    timeout_s : float
        A session is dead after so many seconds without a beat; a runner beats ten times as often.
    broker_url : str
        Where the records of topics are.
    """

    known: bool
    version: str
    roles: dict[str, int] | None
    strategies: list[str]
    timeout_s: float
    broker_url: str


class NodeStanding(msgspec.Struct, frozen=True):
    """A topic as the control plane sees it, for one strategy; ``read`` is how far the strategy's own runner is."""

    topic: str
    producer: str | None
    host: str
    epoch: int
    produced: int | None
    read: int | None
    state: NodeState
    done: int
    need: int
    reason: str
    eta_s: float | None


Attending = Join | Beat | Leave
