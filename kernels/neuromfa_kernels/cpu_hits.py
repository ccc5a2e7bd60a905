"""Inner loops of counting: the bin of every weight of a strip, and one hit at its neuron.

A strip is a few adjacent neurons (columns) whose hits, 16 bits each, stay in the first-level cache
while the rows pass by. A strip of one row, cut into pieces that are laid under one another, serves
neurons that are rows. Weights are read at their addresses with strides in bytes, so that no layout
needs a copy. Nothing overflows: the caller passes at most 65,535 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromfa_kernels.cpu_jit import kernel, load8, load16, load32, load64, prefetch

Int = np.int64
U = np.uint64
ONE = np.uint16(1)
AHEAD = 12
"""Rows between prefetch and use."""
LINE = 64
CELL_SHIFT = 32

MASK_8 = U(0x7F7F7F7F7F7F7F7F)
MASK_32 = U(0x7FFFFFFF)
MASK_64 = U(0x7FFFFFFFFFFFFFFF)


@kernel
def _fetch(address: Any, row_step: Any, size: Any) -> None:
    """Prefetch a later row's piece of the strip, unless rows follow one another without a gap."""
    if row_step != size:
        for offset in range(0, size, LINE):
            prefetch(address + AHEAD * row_step + offset)


@kernel
def hit_8(view: Any, shape: Any, hits: Any) -> None:
    """8-bit types: count the 128 codes themselves; the bins follow from them."""
    address, row_step, step = view
    rows, n, slots = shape
    width = U(slots)
    for _ in range(rows):
        at, slot, left = address, U(0), n
        if step == 1:
            _fetch(at, row_step, n)
            for _ in range(n >> 3):
                x = load64(at) & MASK_8
                hits[slot + (x & U(255))] += ONE
                hits[slot + width + ((x >> U(8)) & U(255))] += ONE
                hits[slot + U(2) * width + ((x >> U(16)) & U(255))] += ONE
                hits[slot + U(3) * width + ((x >> U(24)) & U(255))] += ONE
                hits[slot + U(4) * width + ((x >> U(32)) & U(255))] += ONE
                hits[slot + U(5) * width + ((x >> U(40)) & U(255))] += ONE
                hits[slot + U(6) * width + ((x >> U(48)) & U(255))] += ONE
                hits[slot + U(7) * width + (x >> U(56))] += ONE
                slot += U(8) * width
                at += 8
            left = n & 7
        for _ in range(left):
            hits[slot + (load8(at) & U(0x7F))] += ONE
            slot += width
            at += step
        address += row_step


@kernel
def hit_16(view: Any, shape: Any, bins: Any, hits: Any) -> None:
    """16-bit types: the bin of each of the 65,536 codes, sign included: nothing to mask."""
    address, row_step, step = view
    rows, n, slots = shape
    width = U(slots)
    for _ in range(rows):
        at, slot, left = address, U(0), n
        if step == 2:
            _fetch(at, row_step, 2 * n)
            for _ in range(n >> 2):
                a, b = U(bins[load16(at)]), U(bins[load16(at + 2)])
                c, d = U(bins[load16(at + 4)]), U(bins[load16(at + 6)])
                hits[slot + a] += ONE
                hits[slot + width + b] += ONE
                hits[slot + U(2) * width + c] += ONE
                hits[slot + U(3) * width + d] += ONE
                slot += U(4) * width
                at += 8
            left = n & 3
        for _ in range(left):
            hits[slot + U(bins[load16(at)])] += ONE
            slot += width
            at += step
        address += row_step


@kernel
def _search(code: Any, bounds: Any) -> Any:
    """Bin of a code by bisection, for the few cells that hold more than one bound."""
    low, high = 0, len(bounds)
    while low < high:
        middle = (low + high) >> 1
        if bounds[middle] <= code:
            high = middle
        else:
            low = middle + 1
    return U(low)


@kernel
def _bin_32(address: Any, shift: Any, cell: Any) -> Any:
    """Bin of the float32 at an address, by its cell; beyond all bins where that cannot tell."""
    code = load32(address) & MASK_32
    return (cell[code >> shift] - code) >> U(CELL_SHIFT)


@kernel
def hit_32(view: Any, shape: Any, cells: Any, hits: Any) -> None:
    """float32: a cell of equal high bits holds at most one bound; a borrow is the comparison."""
    address, row_step, step = view
    rows, n, slots = shape
    shift, cell, bounds = cells
    width, by = U(slots), U(shift)
    many = U(len(bounds) + 1)
    for _ in range(rows):
        at, slot, done = address, U(0), 0
        if step == 4:
            _fetch(at, row_step, 4 * n)
            for _ in range(n >> 2):
                a, b = _bin_32(at, by, cell), _bin_32(at + 4, by, cell)
                c, d = _bin_32(at + 8, by, cell), _bin_32(at + 12, by, cell)
                if max(a, b, c, d) == many:
                    break  # the slow way takes over from here
                hits[slot + a] += ONE
                hits[slot + width + b] += ONE
                hits[slot + U(2) * width + c] += ONE
                hits[slot + U(3) * width + d] += ONE
                slot += U(4) * width
                at += 16
                done += 4
        for _ in range(n - done):
            found = _bin_32(at, by, cell)
            if found == many:
                found = _search(load32(at) & MASK_32, bounds)
            hits[slot + found] += ONE
            slot += width
            at += step
        address += row_step


@kernel
def hit_64(view: Any, shape: Any, cells: Any, hits: Any) -> None:
    """float64: as float32, with bin and bound of a cell in two words."""
    address, row_step, step = view
    rows, n, slots = shape
    shift, cell, bounds = cells
    width, by = U(slots), U(shift)
    many = U(len(bounds) + 1)
    for _ in range(rows):
        at, slot = address, U(0)
        if step == 8:
            _fetch(at, row_step, 8 * n)
        for _ in range(n):
            code = load64(at) & MASK_64
            place = (code >> by) << U(1)
            found = cell[place] - U(code >= cell[place + U(1)])
            if found == many:
                found = _search(code, bounds)
            hits[slot + found] += ONE
            slot += width
            at += step
        address += row_step


@kernel
def hit(size: Any, view: Any, shape: Any, lookup: Any, hits: Any) -> None:
    """Count a strip of weights of `size` bytes; every size takes the same kind of lookup."""
    bins, shift, cell, bounds = lookup
    if size == 1:
        hit_8(view, shape, hits)
    elif size == 2:
        hit_16(view, shape, bins, hits)
    elif size == 4:
        hit_32(view, shape, (shift, cell, bounds), hits)
    else:
        hit_64(view, shape, (shift, cell, bounds), hits)
