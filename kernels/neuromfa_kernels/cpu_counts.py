"""Neighbour counts on the CPU (definitions, section 2).

A thread owns some neurons and keeps their hits in its nearest cache while the edges pass by, adds
them to totals before they can overflow, and these to the counts. The floor is the load and the
store of a counter, one after another, for each weight in range. Types of 8 bits need none:
`cpu_codes`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.cpu_codes import TOGETHER, count_codes
from neuromfa_kernels.cpu_jit import kernel
from neuromfa_kernels.cpu_slots import LANES
from neuromfa_kernels.cpu_strips import BLOCK, count_strip
from neuromfa_kernels.cpu_threads import spread, usable_threads
from neuromfa_kernels.radius import FIRST_RADIUS, NEAR, NEAREST, NONFINITE, RadiusTable

HIT_BYTES = 24 << 10
"""Most hits of one strip: they leave room for slots in a first-level cache."""
STRIP = 128
"""Most neurons of a strip."""
PANEL = 4
"""Strips that take turns, so that a page of memory is looked up once for all of them."""
MOST_8, MOST_16 = 255, 65_535
"""Hits that 8 and 16 bits can count."""
PIECES = 8
"""Hits kept apart for one neuron in a row, so that equal neighbours do not wait for each other."""
PIECE = 512
"""Weights of one neuron that are counted as a row."""
SMALL = 1 << 18
"""Below so many weights a second thread costs more than it brings."""
PIECES_PER_THREAD, PIECE_WEIGHTS = 4, 1 << 22
"""Enough that threads end together, and none so small that it costs more than that brings."""


@lru_cache(maxsize=256)
def _plan(table: RadiusTable) -> tuple[Any, Any, int]:
    """What the inner loop needs to find a slot, and the slots of a neuron.

    Types of 16 bits are divided in float32 if that gives every code in range its bin. So are types
    of 32 bits, and where the three roundings of it might lead to another radius, they are divided
    again in float64, which is the definition. All else is divided in float64.
    """
    size, name = table.dtype.itemsize, table.dtype.name
    code = np.dtype(f"u{size}").type(0)
    shift, times = (13, table.factor * 2.0**112) if name == "float16" else (16, table.factor)
    bounds = [table.bounds[b] for b in (table.above - 1, NEAR, NEAREST, NONFINITE)]
    sure = 0.5 - (table.n_radii + 1) * 2.0**-22
    definition = (*bounds, table.above, table.zero, shift, times, sure)
    proven = size == 2 and _float32_is_exact(table, shift, times)
    narrow = proven or (size == 4 and 2.0**-126 <= times < 2.0**127)
    work = np.float32(0) if narrow else np.float64(0)
    return (code, work), definition, -(-table.n_bins // 8) * 8


def _float32_is_exact(table: RadiusTable, shift: int, times: float) -> bool:
    """Whether float32 arithmetic gives every code of 16 bits that is in range its radius."""
    codes = np.arange(table.bounds[table.above - 1], table.bounds[NEAR], dtype=np.uint32)
    with np.errstate(all="ignore"):
        values = (codes << np.uint32(shift)).view(np.float32) * np.float32(times)
        distances = np.float32(1) / values
        return np.array_equal(np.rint(distances) + (FIRST_RADIUS - 1), table.bins(codes))


@kernel
def _add(hits: Any, totals: Any) -> None:
    """Add hits to totals and clear them."""
    for k in range(len(hits)):
        totals[k] += hits[k]
    hits[:] = 0


@kernel
def _add_pieces(hits: Any, totals: Any) -> None:
    """Add the hits of all pieces of a neuron to its totals and clear them."""
    n = len(totals)
    for k in range(n):
        found = np.uint32(0)
        for piece in range(PIECES):
            found += np.uint32(hits[piece * n + k])
        totals[k] += found
    hits[:] = 0


@kernel
def _empty(totals: Any, slots: Any, span: Any, out: Any) -> None:
    """Add the totals of a strip to the counts, and clear them."""
    first, n = span
    counts, near, dropped = out
    n_radii = counts.shape[1]
    for j in range(n):
        found = totals[j * slots : (j + 1) * slots]
        in_range = np.int64(0)
        for k in range(n_radii):
            counts[first + j, k] += found[k + FIRST_RADIUS]
            in_range += found[k + FIRST_RADIUS]
        for b in (NEAREST, NEAR):
            near[b - NEAREST, first + j] += found[b]
            dropped[0] += found[b]
        dropped[2] += found[n_radii + FIRST_RADIUS + 1]
        dropped[3] += found[NONFINITE]
        dropped[1] -= in_range
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
    codes = table.dtype.itemsize == 1
    strip = TOGETHER if codes else _strip(_plan(table)[2])
    each = min(neurons // (strip * workers), matrix.size // (PIECE_WEIGHTS * workers))
    pieces = workers * max(1, min(PIECES_PER_THREAD, each)) if workers > 1 else 1
    step = -(-neurons // (pieces * strip)) * strip

    def some(start: int) -> npt.NDArray[np.int64]:
        stop = min(start + step, neurons)
        if codes:
            return count_codes(matrix, table, (start, stop), (out.counts.T, out.near))
        part = slice(start, stop)
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
    kind, definition, slots = _plan(table)
    (down, across), shape = matrix.strides, matrix.shape
    view = (matrix.__array_interface__["data"][0], down, across)
    dropped = np.zeros(4, np.int64)
    few = np.empty(LANES, f"u{matrix.itemsize}")
    room = np.empty((2, BLOCK + STRIP + LANES), np.uint16)
    found, out = (definition, slots, few, room), (counts, near, dropped)
    count = _columns if abs(across) <= abs(down) else _rows
    count(kind, view, (*shape, _strip(slots)), found, out)
    dropped[1] += matrix.size - dropped[[0, 2, 3]].sum()
    return dropped


def _strip(slots: int) -> int:
    """Neurons whose hits stay in the nearest cache."""
    return max(LANES // 2, min(HIT_BYTES // slots, STRIP) // LANES * LANES)


@kernel
def _columns(kind: Any, view: Any, shape: Any, found: Any, out: Any) -> None:
    """Neurons side by side: for some strips together, as many edges as hits have room for."""
    address, down, across = view
    edges, neurons, strip = shape
    definition, slots, few, room = found
    firsts = (np.arange(strip + LANES) * slots).astype(np.uint16)
    hits = np.zeros(strip * slots, np.uint8)
    totals = np.zeros((PANEL, strip * slots), np.uint16)
    for begin in range(0, neurons, PANEL * strip):
        end = min(begin + PANEL * strip, neurons)
        added = 0
        for row in range(0, edges, MOST_8):
            rows = min(MOST_8, edges - row)
            full = added + rows > MOST_16
            added = rows if full else added + rows
            for first in range(begin, end, strip):
                n = min(strip, end - first)
                mine = totals[(first - begin) // strip]
                if full:
                    _empty(mine, slots, (first, n), out)
                at = (address + row * down + first * across, down, across)
                plan = (firsts, definition, max(1, BLOCK // n), few, room)
                count_strip(kind, at, (rows, n), plan, hits)
                _add(hits[: n * slots], mine)
        for first in range(begin, end, strip):
            n = min(strip, end - first)
            _empty(totals[(first - begin) // strip], slots, (first, n), out)


@kernel
def _rows(kind: Any, view: Any, shape: Any, found: Any, out: Any) -> None:
    """A neuron's edges side by side: `PIECES` counters take turns, as if they were neurons."""
    address, down, across = view
    edges, neurons, _ = shape
    definition, slots, few, room = found
    firsts = (np.arange(PIECE) % PIECES * slots).astype(np.uint16)
    plan = (firsts, definition, 1, few, room)
    hits, totals = np.zeros(PIECES * slots, np.uint16), np.zeros(slots, np.uint32)
    most = MOST_16 * PIECES // PIECE * PIECE
    for neuron in range(neurons):
        for start in range(0, edges, most):
            m = min(most, edges - start)
            whole, rest = m // PIECE, m % PIECE
            at = (address + neuron * across + start * down, PIECE * down, down)
            count_strip(kind, at, (whole, PIECE), plan, hits)
            if rest:
                at = (at[0] + whole * PIECE * down, PIECE * down, down)
                count_strip(kind, at, (1, rest), plan, hits)
            _add_pieces(hits, totals)
        _empty(totals, slots, (neuron, 1), out)
