"""Runs a program chunk by chunk; the batch and the stream driver are two ways to feed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from qmtl.engine.plan import Plan
from qmtl.engine.program import Call, Program
from qmtl.engine.ring import Floats, Ints, Ring
from qmtl.engine.user_node import Emitted, Feed, UserNode

#: A chunk of one stream: buckets int64[n] and one float64[n, S] for each field.
Chunk = tuple[Ints, Sequence[Floats]]


class Executor:
    """The state of a running plan. No I/O, no clock.

    Parameters
    ----------
    plan : Plan
        What to compute.
    capacity : int
        Rows of a chunk.
    track_access : bool
        Record what user functions read.
    by_operator : bool
        See :class:`qmtl.engine.program.Program`.
    """

    def __init__(self, plan: Plan, capacity: int, *, track_access: bool = False, by_operator: bool = False) -> None:
        self.plan, self.program = plan, Program(plan, capacity, by_operator=by_operator)
        self._feeds = {k: Feed(plan.nodes[k].node, period) for k, period in _python_needs(plan).items()}
        self.user_nodes = {
            k: UserNode(p, self._feeds, track_access=track_access)
            for k, p in plan.nodes.items()
            if not p.is_compiled and p.inputs
        }
        self._emitted: dict[str, Emitted] = {}
        #: The user's node that is being computed, or in which the last run failed.
        self.running: str | None = None
        self._feeds_after = _feeds_by_call(plan, self.program.calls, self._feeds)

    def run(self, watermark: int, chunks: Mapping[str, Chunk]) -> None:
        """Compute everything that is complete by ``watermark`` (seconds UTC).

        Parameters
        ----------
        watermark : int
            No bar that ends at or before it will come later.
        chunks : mapping of stream id to Chunk
            The bars that end after the last watermark, at or before this one.
        """
        self._stage(watermark, chunks)
        program = self.program
        before, *after = self._feeds_after
        self._extend_feeds(before)
        for call, feeds in zip(program.calls, after, strict=True):
            if call.python is None:
                program.run(call)
            else:
                self._run_user_node(call.python)
            self._extend_feeds(feeds)

    @property
    def resident_bytes(self) -> int:
        """Bytes that states, buffers and windows take."""
        rings = (feed.ring for feed in self._feeds.values())
        kept = sum(ring.resident_bytes for ring in rings if isinstance(ring, Ring))
        return self.program.i.nbytes + self.program.f.nbytes + kept

    def rows(self, identifier: str, *, copy: bool = True) -> tuple[Ints, dict[str, Floats]]:
        """Return what a node emitted in this chunk: buckets int64[n], values float64[n, S] a field.

        Without a copy they are valid until the next chunk runs.
        """
        if identifier in self.user_nodes:
            return self._user_rows(identifier)
        program, plan = self.program, self.plan.nodes[identifier]
        buckets = program.rows(plan.node.interval)
        present = program.mask(identifier, len(buckets)) == 1
        values = {name: program.values(identifier, name, len(buckets)) for name in plan.fields or ()}
        if present.all() and not copy:
            return buckets, values
        if present.all():
            return buckets.copy(), {name: column.copy() for name, column in values.items()}
        return buckets[present], {name: column[present] for name, column in values.items()}

    def objects(self, identifier: str) -> tuple[list[int], list[Any]]:
        """Return the whole payloads that a user's node emitted in this chunk."""
        emitted = self._emitted.get(identifier, Emitted())
        return emitted.ts, emitted.rows

    # --- one chunk --------------------------------------------------------------------------

    def _stage(self, watermark: int, chunks: Mapping[str, Chunk]) -> None:
        i, f = self.program.i, self.program.f
        i[0] = watermark
        for identifier, source in self.program.sources.items():
            ts, columns = chunks.get(identifier, ((), ()))
            n = len(ts)
            i[source.header] = n
            if n:
                at = int(i[source.header + 1])
                i[at : at + n] = ts
                stride = self.program.capacity * source.width
                for k, column in enumerate(columns):
                    start = source.staging + k * stride
                    f[start : start + n * source.width] = column.reshape(-1)

    def _run_user_node(self, identifier: str) -> None:
        user_node, self.running = self.user_nodes[identifier], identifier
        rows = self.program.rows(user_node.node.interval)
        emitted = self._emitted[identifier] = user_node.run(rows)
        mask = self.program.mask(identifier, len(rows))
        mask[:] = 0
        if emitted.ts and not user_node.recorder.whole:
            where = np.searchsorted(rows, emitted.ts)
            mask[where] = 1
            fields = user_node.recorder.fields or ()
            for name in (n for owner, n in self.program.columns if owner == identifier):
                column = self.program.values(identifier, name, len(rows))
                column[where] = _column(emitted.rows, _position(user_node, name, fields))
        self.running = None

    def _user_rows(self, identifier: str) -> tuple[Ints, dict[str, Floats]]:
        emitted, recorder = self._emitted[identifier], self.user_nodes[identifier].recorder
        ts = np.array(emitted.ts, np.int64)
        if recorder.whole or not emitted.ts:
            return ts, {}
        return ts, {name: _column(emitted.rows, k) for k, name in enumerate(recorder.fields or ())}

    def _extend_feeds(self, identifiers: Iterable[str]) -> None:
        for identifier in identifiers:
            self._extend_feed(identifier)

    def _extend_feed(self, identifier: str) -> None:
        feed = self._feeds[identifier]
        user_node = self.user_nodes.get(identifier)
        if user_node is not None and user_node.recorder.whole:
            emitted = self._emitted[identifier]
            feed.extend_objects(np.array(emitted.ts, np.int64), emitted.rows)
            return
        ts, values = self.rows(identifier)
        if len(ts):
            width = next(iter(values.values())).shape[1]
            feed.extend(ts, tuple(values), list(values.values()), width, self.program.capacity)
        else:
            feed.ts = ts

    # --- snapshots --------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain data; equal states give equal snapshots."""
        program = self.program
        rings = {k: feed.ring.snapshot() for k, feed in self._feeds.items() if isinstance(feed.ring, Ring)}
        objects = sorted(k for k, feed in self._feeds.items() if feed.ring is not None and k not in rings)
        fields = {k: [list(u.recorder.fields or ()), u.recorder.width] for k, u in self.user_nodes.items()}
        return {
            "i": _portable(program).tobytes(),
            "f": program.f[: program.state_f].tobytes(),
            "rings": rings,
            "objects": objects,
            "recorders": fields,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over the state of a snapshot of the same plan, whatever its capacity was."""
        program = self.program
        state = np.frombuffer(saved["i"], np.int64)
        offsets = _chunk_dependent(program)
        kept = program.i[offsets].copy()
        program.i[: program.state_i] = state
        program.i[offsets] = kept
        program.f[: program.state_f] = np.frombuffer(saved["f"], np.float64)
        for identifier, ring in saved["rings"].items():
            feed = self._feeds[identifier]
            feed.ring = Ring(ring["fields"], ring["width"], feed.period, program.capacity)
            feed.ring.restore(ring)
        for identifier, (names, width) in saved["recorders"].items():
            recorder = self.user_nodes[identifier].recorder
            recorder.fields, recorder.width = tuple(names) or recorder.fields, width


def _chunk_dependent(program: Program) -> list[int]:
    """Positions in the state that only say where the buffers of a chunk are, or how full."""
    lanes = [at for lane in program.lanes.values() for at in (lane, lane + 1)]
    return [0] + lanes + [at for s in program.sources.values() for at in (s.header, s.header + 1)]


def _portable(program: Program) -> Ints:
    state = program.i[: program.state_i].copy()
    state[_chunk_dependent(program)[1:]] = 0
    return state


def _column(rows: Sequence[Any], position: int) -> Floats:
    column = np.array([row[position] for row in rows], np.float64)
    return column.reshape(len(rows), -1)


def _position(user_node: UserNode, name: str, fields: Sequence[str]) -> int:
    from qmtl.errors import unknown_name

    if name not in fields:
        raise unknown_name(f"field of {user_node.node.label}", name, fields)
    return list(fields).index(name)


def _python_needs(plan: Plan) -> dict[str, int]:
    """Id to the longest window that a user's function has on it."""
    needs: dict[str, int] = {}
    for reader in plan.nodes.values():
        if not reader.is_compiled:
            for edge in reader.inputs:
                assert edge.node is not None  # compute nodes have no constants
                needs[edge.node.node_id] = max(needs.get(edge.node.node_id, 1), edge.period)
    return needs


def _feeds_by_call(plan: Plan, calls: Sequence[Call], feeds: Mapping[str, Feed]) -> list[list[str]]:
    """Assign each feed to the call after which its node is computed; the first list is before all calls.

    A stream needs no call if nothing compiled reads it: it is there when the chunk is.
    """
    python_at = {call.python: k for k, call in enumerate(calls) if call.python is not None}
    found: list[list[str]] = [[] for _ in range(len(calls) + 1)]
    done = 0  # calls up to and with the last Python one
    for identifier in plan.nodes:
        if identifier in python_at:
            done = python_at[identifier] + 1
            after = done
        else:
            has_compiled = done < len(calls) and calls[done].python is None
            after = done + has_compiled
        if identifier in feeds:
            found[after].append(identifier)
    return found
