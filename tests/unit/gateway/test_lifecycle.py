"""The life of a strategy."""

import itertools

from qmtl.gateway.lifecycle import FINAL, STATES, TABLE, UNFINISHED, Lifecycle, advance, diagram


def test_the_table_is_what_the_machine_does():
    events = sorted({event for _, event in TABLE})
    for state, event in itertools.product(STATES, events):
        if state in FINAL:
            assert advance(state, event) is None
            continue
        machine = Lifecycle(start_value=state)
        allowed = {str(one.id) for one in machine.allowed_events}
        assert (advance(state, event) is not None) == (event in allowed), (state, event)
        if event in allowed:
            machine.send(event)
            assert next(iter(machine.configuration)).id == advance(state, event)


def test_every_state_is_reached_and_leads_to_an_end():
    reached, last = {"queued"}, set()
    while reached != last:
        last, reached = reached, reached | {target for (source, _), target in TABLE.items() if source in reached}
    assert reached == set(STATES)
    ending = set(FINAL)
    for _ in STATES:
        ending |= {source for (source, _), target in TABLE.items() if target in ending}
    assert ending == set(STATES)


def test_workers_have_something_to_do_in_the_unfinished_states_only():
    assert set(UNFINISHED) == {"queued", "diffing", "draining"}
    assert not set(UNFINISHED) & FINAL


def test_the_diagram_shows_every_transition():
    drawn = diagram()
    assert drawn.startswith("stateDiagram-v2")
    assert all(f"    {source} --> {target}: {event}\n" in drawn for (source, event), target in TABLE.items())
