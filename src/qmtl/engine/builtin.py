"""Kernels of the engine itself: which buckets a lane has, placing bars on them, looking across lanes.

Same form as the generated kernels (:mod:`qmtl.engine.templates`). A *lane* is all nodes of one
interval; its header in ``i`` is ``[rows, offset of buckets, interval, open bucket, feeders]``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import carray, cfunc, config, njit, types

NONE = -(1 << 62)
#: Takes the end of a bar, its bucket start and its first value.
Ticker = Callable[[int, int, float], None]


@njit
def lane_rows(i: Any, f: Any, pc: int) -> None:  # noqa: ARG001  (all kernels have one signature)
    """Merge what feeds a lane into its rows: buckets complete by the watermark ``i[0]``.

    Block: ``[lane, feeders, header…, position…]``; a feeder is a source or a shorter lane.
    A bucket that is still open is kept in the lane's header for the next chunk.
    """
    lane = i[pc]
    feeders = i[pc + 1]
    head = pc + 2
    at = head + feeders
    interval = i[lane + 2]
    buckets = i[lane + 1]
    n = 0
    for k in range(feeders):
        i[at + k] = 0
    while True:
        best = i[lane + 3]
        found = best != NONE
        for k in range(feeders):
            feed = i[head + k]
            if i[at + k] < i[feed]:
                b = i[i[feed + 1] + i[at + k]]
                b -= b % interval
                if not found or b < best:
                    best = b
                    found = True
        if not found or best + interval > i[0]:
            break
        i[buckets + n] = best
        n += 1
        i[lane + 3] = NONE
        for k in range(feeders):
            feed = i[head + k]
            while i[at + k] < i[feed] and i[i[feed + 1] + i[at + k]] < best + interval:
                i[at + k] += 1
    if found:
        i[lane + 3] = best
    i[lane] = n


@njit
def place(i: Any, f: Any, pc: int) -> None:
    """Put the bars of one source on the rows of its lane.

    Block: ``[lane, source, mask, out, stride, fields * symbols, staging, symbols, fields]``.
    """
    lane = i[pc]
    source = i[pc + 1]
    mask = i[pc + 2]
    out = i[pc + 3]
    stride = i[pc + 4]
    staging = i[pc + 6]
    symbols = i[pc + 7]
    fields = i[pc + 8]
    q = 0
    for t in range(i[lane]):
        here = q < i[source] and i[i[source + 1] + q] == i[i[lane + 1] + t]
        i[mask + t] = 1 if here else 0
        if here:
            for k in range(fields):
                for s in range(symbols):
                    f[out + k * stride + t * symbols + s] = f[staging + k * stride + q * symbols + s]
            q += 1


@njit
def align(i: Any, f: Any, pc: int) -> None:
    """Show a column of one lane on the rows of another: the last value complete by then.

    Block: ``[lane, other lane, mask, out, other mask, other column, symbols, state f, state i]``.
    A shorter lane must have a bar inside the bucket; a longer lane shows its last complete bar.
    """
    lane = i[pc]
    other = i[pc + 1]
    mask = i[pc + 2]
    out = i[pc + 3]
    symbols = i[pc + 6]
    last = i[pc + 7]
    state = i[pc + 8]
    q = 0
    for t in range(i[lane] + 1):
        done = t == i[lane]
        end = (1 << 62) if done else i[i[lane + 1] + t] + i[lane + 2]
        while q < i[other] and i[i[other + 1] + q] + i[other + 2] <= end:
            if i[i[pc + 4] + q] == 1:
                i[state] = i[i[other + 1] + q]
                for s in range(symbols):
                    f[last + s] = f[i[pc + 5] + q * symbols + s]
            q += 1
        if done:
            break
        here = i[state] != NONE and (i[other + 2] > i[lane + 2] or i[state] >= i[i[lane + 1] + t])
        i[mask + t] = 1 if here else 0
        if here:
            for s in range(symbols):
                f[out + t * symbols + s] = f[last + s]


KERNELS = {"lane_rows": lane_rows, "place": place, "align": align}

if not config.DISABLE_JIT:
    from llvmlite import ir
    from numba.extending import intrinsic

    _KERNEL = types.void(types.CPointer(types.int64), types.CPointer(types.float64), types.int64)

    @cfunc(_KERNEL, cache=True)
    def _lane_rows(ip: Any, fp: Any, pc: int) -> None:
        lane_rows(carray(ip, (1 << 40,)), carray(fp, (1 << 40,)), pc)

    @cfunc(_KERNEL, cache=True)
    def _place(ip: Any, fp: Any, pc: int) -> None:
        place(carray(ip, (1 << 40,)), carray(fp, (1 << 40,)), pc)

    @cfunc(_KERNEL, cache=True)
    def _align(ip: Any, fp: Any, pc: int) -> None:
        align(carray(ip, (1 << 40,)), carray(fp, (1 << 40,)), pc)

    KERNELS = {"lane_rows": _lane_rows, "place": _place, "align": _align}

    @intrinsic
    def _call(_context: Any, address: Any, i: Any, f: Any, pc: Any) -> Any:
        """Call a kernel by its address: one compiled driver serves every plan and every operator."""
        signature = types.void(address, i, f, pc)

        def generate(target: Any, builder: Any, sig: Any, args: Any) -> Any:
            entry, ia, fa, at = args
            ip = target.make_array(sig.args[1])(target, builder, ia).data
            fp = target.make_array(sig.args[2])(target, builder, fa).data
            kind = ir.FunctionType(ir.VoidType(), [ip.type, fp.type, at.type])
            builder.call(builder.inttoptr(entry, kind.as_pointer()), [ip, fp, at])
            return target.get_dummy_value()

        return signature, generate

    @njit(types.void(types.int64[::1], types.float64[::1], types.int64, types.int64), cache=True)
    def run(i: Any, f: Any, start: int, stop: int) -> None:
        """Run kernels ``start`` to ``stop`` of the list ``[address, pc]…`` at ``i[start]``."""
        for k in range(start, stop, 2):
            _call(i[k], i, f, i[k + 1])

    def _pointer(kind: Any) -> Any:
        @intrinsic
        def at(_context: Any, address: Any) -> Any:
            """Return an address as a pointer."""

            def generate(target: Any, builder: Any, sig: Any, args: Any) -> Any:
                return builder.inttoptr(args[0], target.get_value_type(sig.return_type))

            return types.CPointer(kind)(address), generate

        return at

    _ints_at, _floats_at = _pointer(types.int64), _pointer(types.float64)

    @njit(types.void(types.int64, types.int64, types.int64, types.float64), cache=True)
    def _tick(block: int, end: int, ts: int, value: float) -> None:
        # Four numbers cross from Python: two arrays more would cost as much as the computation.
        b = carray(_ints_at(block), (7,))
        i, f = carray(_ints_at(b[0]), (1 << 40,)), carray(_floats_at(b[1]), (1 << 40,))
        i[0] = end
        i[b[4]] = 1
        i[b[5]] = ts
        f[b[6]] = value
        for k in range(b[2], b[3], 2):
            _call(i[k], i, f, i[k + 1])

    #: There is one signature: nobody has to look at the types of the numbers at every bar.
    _tick_compiled = _tick.get_overload((types.int64, types.int64, types.int64, types.float64))

    def ticker(i: Any, f: Any, start: int, stop: int, header: int, bucket: int, place: int) -> tuple[Ticker, Any]:
        """Return what stores one bar ``(end, ts, value)`` of one stream and runs everything, in one call.

        The second thing returned, and the arrays, must live as long as the first is used.
        """
        block = np.array([i.ctypes.data, f.ctypes.data, start, stop, header, bucket, place], np.int64)
        return partial(_tick_compiled, block.ctypes.data), block

else:
    _PYTHON_KERNELS: list[Any] = []

    def run(i: Any, f: Any, start: int, stop: int) -> None:
        """Run kernels as plain Python; an address is an index into a list of functions."""
        with np.errstate(all="ignore"):  # compiled code does not warn of NaN and infinity either
            for k in range(start, stop, 2):
                _PYTHON_KERNELS[i[k]](i, f, i[k + 1])

    def ticker(i: Any, f: Any, start: int, stop: int, header: int, bucket: int, place: int) -> tuple[Ticker, Any]:
        """Return what stores one bar of one stream and runs everything."""

        def tick(end: int, ts: int, value: float) -> None:
            i[0], i[header], i[bucket], f[place] = end, 1, ts, value
            run(i, f, start, stop)

        return tick, i


def address(kernel: Any) -> int:
    """Return what :func:`run` calls a kernel by."""
    if not config.DISABLE_JIT:
        return int(kernel.address)
    if kernel not in _PYTHON_KERNELS:
        _PYTHON_KERNELS.append(kernel)
    return _PYTHON_KERNELS.index(kernel)
