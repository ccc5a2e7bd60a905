"""Neighbour counts on the CPU (definitions, section 2).

A thread owns some neurons and keeps their hits, one byte each, in its nearest cache while the
edges pass by, adds them to totals before they can overflow, and these to the counts. The floor is
one load of the code, one of its bin, and one load and store of a hit for each weight.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.cpu_hits import BATCH, hit
from neuromfa_kernels.cpu_jit import kernel
from neuromfa_kernels.cpu_threads import spread, usable_threads
from neuromfa_kernels.cpu_vectors import LANES
from neuromfa_kernels.radius import FIRST_RADIUS, NEAR, NEAREST, NONFINITE, RadiusTable

HIT_BYTES = 40 << 10
"""Most hits of one strip: a first-level cache, most of them rarely touched."""
PIECE_BYTES = 512
"""A row's piece of a strip: long enough to be fetched well, short enough to wait in the cache."""
MOST_ROWS = 255
"""Edges of a neuron that 8 bits can count."""
STRIPS = 4
"""Strips of a panel: while one is counted, the rows' pieces of the next are fetched."""
PIECES = 8
"""Hits kept apart for one neuron in a row, so that equal neighbours do not wait for each other."""
SMALL = 1 << 18
"""Below so many weights a second thread costs more than it brings."""
PIECES_PER_THREAD = 4
"""Enough that threads end together."""


@lru_cache(maxsize=16)
def _lookup(table: RadiusTable) -> tuple[Any, npt.NDArray[np.uint16], int]:
    """What the inner loop needs to find a slot, the bin of each slot, and the number of slots."""
    size, definition = table.dtype.itemsize, (table.cutoff, table.factor, table.above)
    identity = np.arange(table.n_bins, dtype=np.uint16)
    if size == 1:
        return (identity, definition), table.bins(np.arange(128)), 128
    half = table.bins(np.arange(1 << 15)) if size == 2 else identity
    return (np.concatenate([half, half]), definition), identity, -(-table.n_bins // 8) * 8


@kernel
def _add(hits: Any, totals: Any) -> None:
    """Add hits to totals and clear them."""
    for k in range(len(hits)):
        totals[k] += np.uint32(hits[k])
    hits[:] = 0


@kernel
def _empty(totals: Any, slots: Any, bins: Any, place: Any, out: Any) -> None:
    """Add the totals of a strip to the counts, and clear them."""
    first, step, n = place
    counts, near, dropped = out
    n_radii = counts.shape[1]
    for j in range(n):
        neuron = first + j * step
        for slot in range(len(bins)):
            found = totals[j * slots + slot]
            if found:
                b = bins[slot]
                if FIRST_RADIUS <= b < n_radii + FIRST_RADIUS:
                    counts[neuron, b - FIRST_RADIUS] += found
                elif b == NEAREST or b == NEAR:
                    near[b - NEAREST, neuron] += found
                    dropped[0] += found
                elif b == NONFINITE:
                    dropped[3] += found
                else:
                    dropped[b - n_radii - FIRST_RADIUS + 1] += found
    totals[: n * slots] = 0


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
    strip = _strip(_lookup(table)[2], matrix.itemsize)
    panels = neurons // (STRIPS * strip * workers)
    pieces = workers * max(1, min(PIECES_PER_THREAD, panels)) if workers > 1 else 1
    step = -(-neurons // (pieces * strip)) * strip

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
        strip = min(neurons, _strip(slots, size))
        _columns(size, view, (edges, neurons, slots, strip), found, out)
    else:
        _rows(size, view, (edges, neurons, slots), found, out)
    return totals


def _strip(slots: int, size: int) -> int:
    """Neurons of `size` bytes an edge whose hits stay in the nearest cache, by sixteens."""
    return max(16, min(HIT_BYTES // slots, PIECE_BYTES // size) // 16 * 16)


@kernel
def _columns(size: Any, view: Any, shape: Any, found: Any, out: Any) -> None:
    """Neurons side by side: panels of `STRIPS` strips, strip after strip for some rows."""
    address, down, across = view
    edges, neurons, slots, strip = shape
    (table, definition), bins = found
    lookup = (table, definition, np.empty(max(BATCH, strip) + LANES, np.uint16))
    panel = STRIPS * strip
    hits, totals = np.zeros(panel * slots, np.uint8), np.zeros(panel * slots, np.uint32)
    one, width = np.uint8(1), np.uint64(slots)
    for first in range(0, neurons, panel):
        wide = min(panel, neurons - first)
        for row in range(0, edges, MOST_ROWS):
            rows = min(MOST_ROWS, edges - row)
            for start in range(0, wide, strip):
                at = (address + row * down + (first + start) * across, down, across)
                n = min(strip, wide - start)
                hit(size, at, (rows, n, width, one), lookup, hits[start * slots :])
            _add(hits[: wide * slots], totals)
        _empty(totals, slots, bins, (first, 1, wide), out)


@kernel
def _rows(size: Any, view: Any, shape: Any, found: Any, out: Any) -> None:
    """A neuron's edges side by side: as a matrix of `PIECES` columns they are a strip."""
    address, down, across = view
    edges, neurons, slots = shape
    (table, definition), bins = found
    lookup = (table, definition, np.empty(BATCH + LANES, np.uint16))
    totals = np.zeros(PIECES * slots, np.uint32)
    one, width = np.uint32(1), np.uint64(4 * slots)
    whole = edges // PIECES
    for neuron in range(neurons):
        at = (address + neuron * across, PIECES * down, down)
        hit(size, at, (whole, PIECES, width, one), lookup, totals)
        if edges % PIECES:
            at = (at[0] + whole * PIECES * down, PIECES * down, down)
            hit(size, at, (1, edges % PIECES, width, one), lookup, totals)
        for k in range(1, PIECES):
            for slot in range(slots):
                totals[slot] += totals[k * slots + slot]
                totals[k * slots + slot] = 0
        _empty(totals, slots, bins, (neuron, 0, 1), out)
