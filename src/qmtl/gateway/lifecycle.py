"""The life of a strategy. Pure: the machine is declared with python-statemachine and read as a table."""

from __future__ import annotations

from statemachine import State, StateMachine


class Lifecycle(StateMachine):
    """States and events of a submitted strategy.

    ``queued`` until a worker takes it, ``diffing`` while the DAG manager maps it, ``warming`` until its nodes have
    their first output, ``running``; ``draining`` after a stop was asked for. The others are final.
    """

    queued = State(initial=True)
    diffing = State()
    warming = State()
    running = State()
    draining = State()
    stopped = State(final=True)
    failed = State(final=True)
    rejected = State(final=True)
    superseded = State(final=True)

    pick = queued.to(diffing)
    take_over = diffing.to(diffing)
    mapped = diffing.to(warming)
    warm = warming.to(running)
    drain = queued.to(draining) | diffing.to(draining) | warming.to(draining) | running.to(draining)
    stop = draining.to(stopped)
    reject = diffing.to(rejected)
    fail = diffing.to(failed) | warming.to(failed) | running.to(failed) | draining.to(failed)
    supersede = warming.to(superseded) | running.to(superseded)


#: (state, event): next state.
TABLE: dict[tuple[str, str], str] = {
    (state.id, event): transition.target.id
    for state in Lifecycle.states
    for transition in state.transitions
    for event in str(transition.event).split()
    if transition.target is not None
}

FINAL = frozenset(state.id for state in Lifecycle.states if state.final)
#: States that a worker has something to do in.
UNFINISHED = ("queued", "diffing", "draining")
STATES = tuple(state.id for state in Lifecycle.states)


def advance(state: str, event: str) -> str | None:
    """Return the state that an event leads to, or None where it is illegal.

    Examples
    --------
    >>> advance("queued", "pick"), advance("stopped", "pick")
    ('diffing', None)
    """
    return TABLE.get((state, event))


def diagram() -> str:
    """Return the machine as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    lines += [f"    {state} --> {target}: {event}" for (state, event), target in TABLE.items()]
    return "\n".join([*lines, *(f"    {state} --> [*]" for state in STATES if state in FINAL)]) + "\n"
