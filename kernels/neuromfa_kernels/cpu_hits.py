"""Inner loops of counting: the bin of every weight of a strip, and one hit at its neuron.

A strip is some adjacent neurons (columns) whose hits, 8 bits each, stay in the first-level cache
while the rows pass by. A strip of one row, cut into pieces that are laid under one another, serves
neurons that are rows. Weights are read at their addresses with strides in bytes, so that no layout
needs a copy. Nothing overflows: the caller passes at most 255 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromfa_kernels.cpu_bins import find_bins
from neuromfa_kernels.cpu_jit import count, kernel, load8, load16, load64, prefetch

Int = np.int64
U = np.uint64
LINE = 64
AHEAD = 4
"""Rows between prefetch and use."""
BATCH = 256
"""Bins of wide weights that are found before they are counted."""

MASK_8 = U(0x7F7F7F7F7F7F7F7F)


@kernel
def _fetch(address: Any, row_step: Any, size: Any) -> None:
    """Prefetch, unless rows follow one another without a gap, a later row and the next strip.

    This row's piece of the next strip: its page is at hand now, and a larger cache will keep it.
    """
    if row_step != size:
        for offset in range(0, size, LINE):
            prefetch(address + size + offset)
            prefetch(address + AHEAD * row_step + offset)


@kernel
def hit_8(view: Any, shape: Any, hits: Any) -> None:
    """8-bit types: count the 128 codes themselves; the bins follow from them."""
    address, row_step, step = view
    rows, n, width, one = shape
    for _ in range(rows):
        at, slot, left = address, hits, n
        if step == 1:
            _fetch(at, row_step, n)
            for _ in range(n >> 3):
                x = load64(at) & MASK_8
                count(slot, (x & U(255)), one)
                count(slot + width, ((x >> U(8)) & U(255)), one)
                count(slot + U(2) * width, ((x >> U(16)) & U(255)), one)
                count(slot + U(3) * width, ((x >> U(24)) & U(255)), one)
                count(slot + U(4) * width, ((x >> U(32)) & U(255)), one)
                count(slot + U(5) * width, ((x >> U(40)) & U(255)), one)
                count(slot + U(6) * width, ((x >> U(48)) & U(255)), one)
                count(slot + U(7) * width, (x >> U(56)), one)
                slot += U(8) * width
                at += 8
            left = n & 7
        for _ in range(left):
            count(slot, (load8(at) & U(0x7F)), one)
            slot += width
            at += step
        address += row_step


@kernel
def hit_16(view: Any, shape: Any, table: Any, hits: Any) -> None:
    """16-bit types: the bin of each of the 65,536 codes, sign included: nothing to mask."""
    address, row_step, step = view
    rows, n, width, one = shape
    bins = U(table.ctypes.data)
    for _ in range(rows):
        at, slot, left = address, hits, n
        if step == 2:
            _fetch(at, row_step, 2 * n)
            for _ in range(n >> 2):
                a, b = load16(bins + U(2) * load16(at)), load16(bins + U(2) * load16(at + 2))
                c, d = load16(bins + U(2) * load16(at + 4)), load16(bins + U(2) * load16(at + 6))
                count(slot, a, one)
                count(slot + width, b, one)
                count(slot + U(2) * width, c, one)
                count(slot + U(3) * width, d, one)
                slot += U(4) * width
                at += 8
            left = n & 3
        for _ in range(left):
            count(slot, load16(bins + U(2) * load16(at)), one)
            slot += width
            at += step
        address += row_step


@kernel
def hit_wide(size: Any, view: Any, shape: Any, lookup: Any, hits: Any) -> None:
    """float32 and float64: first the bins of a few rows, then their hits."""
    address, row_step, step = view
    rows, n, width, one = shape
    definition, room = lookup
    found = U(room.ctypes.data)
    batch = max(1, BATCH // n)
    for first in range(0, rows, batch):
        m = min(batch, rows - first)
        at = address + first * row_step
        if row_step == n * step:
            find_bins(size, (at, step, m * n), definition, found)
        else:
            for i in range(m):
                _fetch(at, row_step, n * step)
                find_bins(size, (at, step, n), definition, found + U(2 * i * n))
                at += row_step
        k = found
        for _ in range(m):
            slot = hits
            for _ in range(n >> 2):
                a, b = load16(k), load16(k + U(2))
                c, d = load16(k + U(4)), load16(k + U(6))
                count(slot, a, one)
                count(slot + width, b, one)
                count(slot + U(2) * width, c, one)
                count(slot + U(3) * width, d, one)
                slot += U(4) * width
                k += U(8)
            for _ in range(n & 3):
                count(slot, load16(k), one)
                slot += width
                k += U(2)


@kernel
def hit(size: Any, view: Any, shape: Any, lookup: Any, hits: Any) -> None:
    """Count a strip of weights of `size` bytes; every size takes the same kind of lookup."""
    table, definition, room = lookup
    counters = U(hits.ctypes.data)
    if size == 1:
        hit_8(view, shape, counters)
    elif size == 2:
        hit_16(view, shape, table, counters)
    else:
        hit_wide(size, view, shape, (definition, room), counters)
