"""Neighbour counts on the CPU (definitions, section 2).

A thread owns some neurons and keeps their hits, two bytes each, in its nearest cache while the
edges pass by, then adds them to the counts. The floor is one load of the code, one of its bin, and
one load and store of a hit for each weight.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.cpu_hits import CELL_SHIFT, hit
from neuromfa_kernels.cpu_jit import kernel
from neuromfa_kernels.cpu_threads import spread, usable_threads
from neuromfa_kernels.radius import FIRST_RADIUS, NEAR, NEAREST, NONFINITE, RadiusTable

HIT_BYTES = 32 << 10
"""Hits of one strip: most of a first-level cache, with room for the table of bins."""
MOST_ROWS = 65_535
"""Edges of a neuron that 16 bits can count."""
PIECES = 8
"""Hits kept apart for one neuron in a row, so that equal neighbours do not wait for each other."""
SMALL = 1 << 18
"""Below so many weights a second thread costs more than it brings."""
PIECES_PER_THREAD = 4
"""Enough that threads end together."""
SMALLEST_CELL = {4: 11, 8: 43}
"""Bits of a code that tell nothing about its cell: bounds the size of a table of cells."""
LARGEST_GAP = {4: np.uint64(1 << 23), 8: np.uint64(1 << 52)}
"""Of codes that one cell may hold: as many as a power of two has."""


@lru_cache(maxsize=16)
def _lookup(table: RadiusTable) -> tuple[Any, npt.NDArray[np.uint16], int]:
    """What the inner loop needs to find a slot, the bin of each slot, and the number of slots."""
    size = table.dtype.itemsize
    codes, words = np.zeros(0, np.uint16), np.zeros(0, np.uint64)
    identity = np.arange(table.n_bins, dtype=np.uint16)
    slots = -(-table.n_bins // 8) * 8
    if size == 1:
        return (codes, 0, words, table.bounds), table.bins(np.arange(128)), 128
    if size == 2:
        half = table.bins(np.arange(1 << 15))
        return (np.concatenate([half, half]), 0, words, table.bounds), identity, slots
    return (codes, *_cells(table, size)), identity, slots


def _cells(table: RadiusTable, size: int) -> tuple[int, npt.NDArray[np.uint64], Any]:
    """Cells of codes with equal high bits, with the bin at the start and the bound inside, if any.

    A cell that this cannot describe is marked by a bin that does not exist, and searched.
    """
    edges = np.unique(table.bounds)
    top = np.uint64((1 << (8 * size - 1)) - 1)
    gap = int(np.diff(edges[edges > 1]).min(initial=LARGEST_GAP[size]))
    shift = np.uint64(max(gap.bit_length() - 1, SMALLEST_CELL[size]))
    starts = np.arange(int(top >> shift) + 1, dtype=np.uint64) << shift
    low = table.bins(starts).astype(np.uint64)
    inside = edges[(edges & ((np.uint64(1) << shift) - np.uint64(1)) != 0) & (edges <= top)]
    bound = np.full(len(starts), top + np.uint64(1))
    own, how_many = np.unique(inside >> shift, return_counts=True)
    bound[(inside >> shift).astype(np.intp)] = inside
    # where a radius has no value of the type, one bound crosses two bins
    jump = table.bins(inside - np.uint64(1)) - table.bins(inside)
    marked = np.append(own[how_many > 1], inside[jump > 1] >> shift).astype(np.intp)
    low[marked], bound[marked] = np.uint64(len(table.bounds) + 1), top + np.uint64(1)
    if size == 4:  # both in one word: a borrow from the bin is the comparison
        words = (low << np.uint64(CELL_SHIFT)) + (bound - np.uint64(1))
    else:
        words = np.stack([low, bound], axis=1).reshape(-1)
    return int(shift), words, table.bounds


@kernel
def _empty(hits: Any, slots: Any, bins: Any, place: Any, out: Any) -> None:
    """Add the hits of a strip to the counts, and clear them."""
    first, step, n = place
    counts, near, totals = out
    n_radii = counts.shape[1]
    for j in range(n):
        neuron = first + j * step
        for slot in range(len(bins)):
            found = hits[j * slots + slot]
            if found:
                b = bins[slot]
                if FIRST_RADIUS <= b < n_radii + FIRST_RADIUS:
                    counts[neuron, b - FIRST_RADIUS] += np.uint32(found)
                elif b == NEAREST or b == NEAR:
                    near[b - NEAREST, neuron] += np.uint32(found)
                    totals[0] += found
                elif b == NONFINITE:
                    totals[3] += found
                else:
                    totals[b - n_radii - FIRST_RADIUS + 1] += found
    hits[: n * slots] = 0


def add_neighbours(
    weights: npt.NDArray[Any],
    table: RadiusTable,
    neuron_axis: int,
    *,
    out: NeighbourCounts,
    threads: int | None = None,
) -> None:
    """Add the edges in `weights` to `out`; the door has checked the arguments."""
    matrix = weights if neuron_axis == 1 else weights.T  # [edges, neurons]
    if not matrix.size:
        return
    workers = usable_threads(threads) if matrix.size > SMALL else 1
    neurons = matrix.shape[1]
    strip = _strip(_lookup(table)[2])
    pieces = max(1, neurons // (strip * workers * PIECES_PER_THREAD))
    step = neurons if workers == 1 else strip * pieces

    def some(start: int) -> npt.NDArray[np.int64]:
        part = slice(start, start + step)
        return _count(matrix[:, part], table, out.counts.T[part], out.near[:, part])

    for dropped in spread(some, range(0, neurons, step), workers):
        out.dropped[:] += dropped


def _count(
    matrix: npt.NDArray[Any],
    table: RadiusTable,
    counts: npt.NDArray[np.uint32],
    near: npt.NDArray[np.uint32],
) -> npt.NDArray[np.int64]:
    """Count some neurons in one thread; weights below the range, above it, zero, not finite."""
    lookup, bins, slots = _lookup(table)
    size, (down, across), (edges, neurons) = matrix.itemsize, matrix.strides, matrix.shape
    view = (matrix.__array_interface__["data"][0], down, across)
    totals = np.zeros(4, np.int64)
    found, out = (lookup, bins), (counts, near, totals)
    if abs(across) <= abs(down):
        strip = min(neurons, _strip(slots))
        _columns(size, view, (edges, neurons, slots, strip), found, out)
    else:
        _rows(size, view, (edges, neurons, slots), found, out)
    return totals


def _strip(slots: int) -> int:
    """Neurons whose hits stay in the nearest cache, by sixteens."""
    return max(16, HIT_BYTES // (2 * slots) // 16 * 16)


@kernel
def _columns(size: Any, view: Any, shape: Any, found: Any, out: Any) -> None:
    """Neurons side by side: strip after strip."""
    address, down, across = view
    edges, neurons, slots, strip = shape
    lookup, bins = found
    hits = np.zeros(strip * slots, np.uint16)
    for first in range(0, neurons, strip):
        n = min(strip, neurons - first)
        for row in range(0, edges, MOST_ROWS):
            at = (address + row * down + first * across, down, across)
            hit(size, at, (min(MOST_ROWS, edges - row), n, slots), lookup, hits)
            _empty(hits, slots, bins, (first, 1, n), out)


@kernel
def _rows(size: Any, view: Any, shape: Any, found: Any, out: Any) -> None:
    """A neuron's edges side by side: as a matrix of `PIECES` columns they are a strip."""
    address, down, across = view
    edges, neurons, slots = shape
    lookup, bins = found
    hits = np.zeros(PIECES * slots, np.uint16)
    whole = edges - edges % PIECES
    most = MOST_ROWS // PIECES
    for neuron in range(neurons):
        start = address + neuron * across
        for edge in range(0, whole, PIECES * most):
            n = min(most, (whole - edge) // PIECES)
            at = (start + edge * down, PIECES * down, down)
            hit(size, at, (n, PIECES, slots), lookup, hits)
            if edge + n * PIECES < whole:
                _fold(hits, slots)
                _empty(hits, slots, bins, (neuron, 0, 1), out)
        _fold(hits, slots)
        _empty(hits, slots, bins, (neuron, 0, 1), out)
        if whole < edges:
            at = (start + whole * down, down, down)
            hit(size, at, (1, edges - whole, slots), lookup, hits)
            _fold(hits, slots)
            _empty(hits, slots, bins, (neuron, 0, 1), out)


@kernel
def _fold(hits: Any, slots: Any) -> None:
    """Add the pieces of a neuron to the first."""
    for k in range(1, PIECES):
        for slot in range(slots):
            hits[slot] += hits[k * slots + slot]
            hits[k * slots + slot] = 0
