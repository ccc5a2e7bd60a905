"""Inner loops of counting: block after block of a strip, found and hit in step.

A strip is some neurons side by side, whose hits stay in the first-level cache while their edges
pass by. While the slots of one block of weights are found, those of the block before are hit.
Weights are read at their addresses with strides in bytes, so that no layout needs a copy. Nothing
overflows: the caller passes no more rows than a counter can count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromfa_kernels.cpu_jit import count, inlined, kernel, load, prefetch
from neuromfa_kernels.cpu_slots import EVERY_LANE, LANES, begin, finish

U = np.uint64
LINE = 64
HITS = 4
"""Slots of one load."""
SOON, LATER = 2, 16
"""Rows between prefetch and use, into the first-level cache and into the second."""
BLOCK = 2048
"""Weights of a block: two blocks of slots leave the first-level cache to the hits."""


@inlined
def _fetch(address: Any, row_step: Any, size: Any) -> None:
    """Prefetch the lines of later rows that these bytes end in.

    Line by line, as bytes are read: a burst would have to wait. Lines need not begin where rows do.
    """
    for end in range(LINE - 1, size + LINE - 1, LINE):
        prefetch(address + LATER * row_step + end, 2)
        prefetch(address + SOON * row_step + end, 3)


@inlined
def _hit(counters: Any, one: Any, slots: Any, loads: Any) -> Any:
    """Hit `HITS` slots for each load; the address behind them."""
    for _ in range(loads):
        four = load(slots, U(0))
        count(counters, four & U(0xFFFF), one)
        count(counters, (four >> U(16)) & U(0xFFFF), one)
        count(counters, (four >> U(32)) & U(0xFFFF), one)
        count(counters, four >> U(48), one)
        slots += U(2 * HITS)
    return slots


@kernel
def _hit_rest(counters: Any, one: Any, slots: Any, end: Any) -> None:
    slots = _hit(counters, one, slots, (end - slots) // U(2 * HITS))
    while slots < end:
        count(counters, U(load(slots, np.uint16(0))), one)
        slots += U(2)


@kernel
def _sweep(kind: Any, view: Any, shape: Any, strip: Any, block: Any) -> Any:
    """Find the slots of some rows, and hit others with each vector.

    A vector is begun before the hits and finished after them: nobody waits for a division.
    Weights that lie apart, or are too few for a vector, are brought together first.
    """
    address, row_step, gap = view
    rows, n = shape
    firsts, definition, counters, one, few = strip
    out, old, loads = block
    size = few.itemsize
    whole = n // LANES * LANES if gap == size else 0
    apart = row_step != n * size
    for _ in range(rows):
        if apart:
            _fetch(address - LINE + 1, row_step, 1)
        for k in range(0, whole, LANES):
            if apart:
                _fetch(address + k * size, row_step, LANES * size)
            begun = begin(kind, address + k * size, definition)
            old = _hit(counters, one, old, loads)
            out = finish(begun, firsts + U(2 * k), U(EVERY_LANE), definition, out)
        for k in range(whole, n, LANES):
            left = min(LANES, n - k)
            for j in range(left):
                few[j] = load(address + (k + j) * gap, kind[0])
            begun = begin(kind, U(few.ctypes.data), definition)
            old = _hit(counters, one, old, loads)
            valid = (U(1) << U(left)) - U(1)
            out = finish(begun, firsts + U(2 * k), valid, definition, out)
        address += row_step
    return out, old


@kernel
def count_strip(kind: Any, view: Any, shape: Any, plan: Any, hits: Any) -> None:
    """Count rows of n weights, the k-th of each row in slots from firsts[k] on.

    `plan` is these, the definition, the rows of a block, and room for a vector and two blocks.
    """
    address, row_step, gap = view
    rows, n = shape
    firsts, definition, batch, few, room = plan
    counters, one = U(hits.ctypes.data), hits.dtype.type(1)
    strip = (U(firsts.ctypes.data), definition, counters, one, few)
    here, there = U(room[0].ctypes.data), U(room[1].ctypes.data)
    old = old_end = there
    for first in range(0, rows, batch):
        m = min(batch, rows - first)
        steps = m * ((n + LANES - 1) // LANES)
        loads = (old_end - old) // U(2 * HITS * steps)
        now = (address + first * row_step, row_step, gap)
        block = (here, old, loads)
        end, old = _sweep(kind, now, (m, n), strip, block)
        _hit_rest(counters, one, old, old_end)
        old, old_end = here, end
        here, there = there, here
    _hit_rest(counters, one, old, old_end)
