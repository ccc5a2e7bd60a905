"""Neighbour counts on the CPU (definitions, section 2).

A worker owns a strip of neurons and keeps their counters, two bytes each, in its nearest cache
while it walks through the edges. A stored code becomes a bin by a table: all codes for 8 and 16
bits; for 32 and 64 bits cells of equal leading bits, each with at most one boundary inside. The
floor is one table load, one counter load and one store for each weight.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.cpu_jit import kernel, prefetch
from neuromfa_kernels.cpu_threads import spread, usable_threads
from neuromfa_kernels.radius import FIRST_RADIUS, NEAR, NEAREST, NONFINITE, RadiusTable

COUNTER_BYTES = 40 << 10
"""Counters of one strip: most of a first-level cache."""
MOST_ROWS = 65_535
"""Edges counted before two-byte counters are emptied."""
AHEAD = 8
"""Rows asked for in advance: memory answers while these are counted."""
SMALL = 1 << 18
"""Below so many weights a second thread costs more than it brings."""
NEURONS = 256
"""Neurons counted by one thread at a time."""
INTERLEAVED = 4
"""Counters of a neuron in a row, used in turn, so that equal neighbours do not wait."""


@lru_cache(maxsize=32)
def _code_bins(table: RadiusTable) -> npt.NDArray[np.uint16]:
    """Bin of every code, sign included, of an 8-bit or 16-bit type."""
    half = 1 << (8 * table.dtype.itemsize - 1)
    bins = table.bins(np.arange(half, dtype=np.uint64))
    return np.concatenate([bins, bins])


@lru_cache(maxsize=32)
def _cells(table: RadiusTable) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint64], int, int]:
    """For wide types: bin and boundary by cell, the shift to a cell, and the first cell.

    A code a in cell k has the bin ``low[k] - (a >= bound[k])``. Cell 0 holds all smaller codes.
    """
    edges = np.unique(table.bounds)
    # The boundary at 1 tells zero from what is above the range and stands in cell 0; the one at
    # infinity stands in the last cell, which starts at 2.0 and holds all that is larger.
    infinite = edges[-1]
    inner = edges[(edges > 1) & (edges < infinite)]
    shift = int(np.diff(inner).min()).bit_length() - 1
    first = (int(inner[0]) >> shift) - 1
    n = (int(inner[-1]) >> shift) - first + 1
    starts = (np.arange(n, dtype=np.uint64) + np.uint64(first)) << np.uint64(shift)
    starts[0] = 0
    low = table.bins(starts)
    bound = np.full(n, np.iinfo(np.uint64).max, np.uint64)
    bound[0] = 1
    own = (inner >> np.uint64(shift)).astype(np.int64) - first
    at_start = starts[own] == inner
    bound[own[~at_start]] = inner[~at_start]
    bound[-1] = infinite
    return low, bound, shift, first


@kernel
def _flush(h, stride, width, first, counts, near, totals):  # type: ignore[no-untyped-def]
    """Add a strip's counters to the results and empty them."""
    n_radii = counts.shape[1]
    for j in range(width):
        base = j * stride
        for r in range(n_radii):
            counts[first + j, r] += np.uint32(h[base + r + FIRST_RADIUS])
        near[0, first + j] += np.uint32(h[base + NEAREST])
        near[1, first + j] += np.uint32(h[base + NEAR])
        totals[0] += np.int64(h[base + NEAREST]) + np.int64(h[base + NEAR])
        totals[1] += np.int64(h[base + n_radii + FIRST_RADIUS])
        totals[2] += np.int64(h[base + n_radii + FIRST_RADIUS + 1])
        totals[3] += np.int64(h[base + NONFINITE])
    h[:] = 0


@kernel
def _columns_by_code(codes, address, lut, stride, strip, counts, near, totals):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917, E501
    """Neurons are columns of `codes` [edges, neurons]; `lut` gives the bin of each code."""
    edges, neurons = codes.shape
    h = np.zeros(strip * stride, np.uint16)
    one = np.uint16(1)
    s = np.uint64(stride)
    for c0 in range(0, neurons, strip):
        width = min(strip, neurons - c0)
        lines = (width * codes.itemsize + 63) // 64
        for r0 in range(0, edges, MOST_ROWS):
            for r in range(r0, min(edges, r0 + MOST_ROWS)):
                if r + AHEAD < edges:
                    ahead = address + (r + AHEAD) * codes.strides[0] + c0 * codes.strides[1]
                    for line in range(lines):
                        prefetch(np.uint64(ahead + 64 * line))
                base = np.uint64(0)
                for j in range(0, width - 3, 4):
                    c = c0 + j
                    a = np.uint64(lut[codes[r, c]])
                    b = np.uint64(lut[codes[r, c + 1]])
                    d = np.uint64(lut[codes[r, c + 2]])
                    e = np.uint64(lut[codes[r, c + 3]])
                    h[base + a] += one
                    h[base + s + b] += one
                    h[base + s + s + d] += one
                    h[base + s + s + s + e] += one
                    base += np.uint64(4) * s
                for j in range(width - width % 4, width):
                    h[base + np.uint64(lut[codes[r, c0 + j]])] += one
                    base += s
            _flush(h, stride, width, c0, counts, near, totals)


@kernel
def _columns_by_cell(codes, address, low, bound, place, stride, strip, counts, near, totals):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917, E501
    """The same for wide types: `place` is (mask without sign, shift to a cell, first cell)."""
    edges, neurons = codes.shape
    h = np.zeros(strip * stride, np.uint16)
    one = np.uint16(1)
    s = np.uint64(stride)
    mask, shift, first = place
    last = np.uint64(len(low) - 1)
    for c0 in range(0, neurons, strip):
        width = min(strip, neurons - c0)
        lines = (width * codes.itemsize + 63) // 64
        for r0 in range(0, edges, MOST_ROWS):
            for r in range(r0, min(edges, r0 + MOST_ROWS)):
                if r + AHEAD < edges:
                    ahead = address + (r + AHEAD) * codes.strides[0] + c0 * codes.strides[1]
                    for line in range(lines):
                        prefetch(np.uint64(ahead + 64 * line))
                base = np.uint64(0)
                for j in range(width):
                    code = np.uint64(codes[r, c0 + j]) & mask
                    cell = max(code >> shift, first) - first
                    k = min(cell, last)
                    h[base + np.uint64(low[k]) - np.uint64(code >= bound[k])] += one
                    base += s
            _flush(h, stride, width, c0, counts, near, totals)


@kernel
def _rows_by_code(codes, lut, stride, counts, near, totals):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917
    """Neurons are rows of `codes` [neurons, edges]."""
    neurons, edges = codes.shape
    h = np.zeros(INTERLEAVED * stride, np.uint16)
    one = np.uint16(1)
    s = np.uint64(stride)
    most = MOST_ROWS - MOST_ROWS % INTERLEAVED
    for i in range(neurons):
        for c0 in range(0, edges, most):
            c1 = min(edges, c0 + most)
            for c in range(c0, c1 - 3, 4):
                h[np.uint64(lut[codes[i, c]])] += one
                h[s + np.uint64(lut[codes[i, c + 1]])] += one
                h[s + s + np.uint64(lut[codes[i, c + 2]])] += one
                h[s + s + s + np.uint64(lut[codes[i, c + 3]])] += one
            for c in range(c1 - (c1 - c0) % 4, c1):
                h[np.uint64(lut[codes[i, c]])] += one
            for k in range(1, INTERLEAVED):
                for b in range(stride):
                    h[b] += h[k * stride + b]
            _flush(h, stride, 1, i, counts, near, totals)


@kernel
def _rows_by_cell(codes, low, bound, place, stride, counts, near, totals):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917, E501
    """The same for wide types."""
    neurons, edges = codes.shape
    h = np.zeros(INTERLEAVED * stride, np.uint16)
    one = np.uint16(1)
    s = np.uint64(stride)
    mask, shift, first = place
    last = np.uint64(len(low) - 1)
    for i in range(neurons):
        for c0 in range(0, edges, MOST_ROWS):
            for c in range(c0, min(edges, c0 + MOST_ROWS)):
                code = np.uint64(codes[i, c]) & mask
                cell = max(code >> shift, first) - first
                k = min(cell, last)
                bin_ = np.uint64(low[k]) - np.uint64(code >= bound[k])
                h[np.uint64(c % INTERLEAVED) * s + bin_] += one
            for k in range(1, INTERLEAVED):
                for b in range(stride):
                    h[b] += h[k * stride + b]
            _flush(h, stride, 1, i, counts, near, totals)


def add_neighbours(
    weights: npt.NDArray[Any],
    table: RadiusTable,
    neuron_axis: int,
    *,
    out: NeighbourCounts,
    threads: int | None = None,
) -> None:
    """Add the edges in `weights` to `out`, some neurons at a time."""
    codes = weights.view(np.dtype(f"u{table.dtype.itemsize}"))
    codes = codes if neuron_axis == 1 else codes.T
    workers = usable_threads(threads) if codes.size > SMALL else 1
    neurons = codes.shape[1]
    step = neurons if workers == 1 else NEURONS
    counts = out.counts.T

    def some(start: int) -> npt.NDArray[np.int64]:
        part = slice(start, start + step)
        return _count(codes[:, part], table, counts[part], out.near[:, part])

    if codes.size:
        for dropped in spread(some, range(0, neurons, step), workers):
            out.dropped[:] += dropped


def _count(
    codes: npt.NDArray[Any],
    table: RadiusTable,
    counts: npt.NDArray[np.uint32],
    near: npt.NDArray[np.uint32],
) -> npt.NDArray[np.int64]:
    """Add the edges of some neurons, in one thread; weights below, above, zero, not finite.

    `codes` [edges, neurons] are the bits of the weights, with any strides; `counts` is
    [neurons, n_radii], `near` [2, neurons].
    """
    totals = np.zeros(4, np.int64)
    # one type of array for the compiler, whether it came from a mapped file or not
    codes = codes.view()
    codes.setflags(write=False)
    stride = -(-table.n_bins // 8) * 8
    strip = max(8, COUNTER_BYTES // (2 * stride) // 8 * 8)
    in_columns = abs(codes.strides[1]) <= abs(codes.strides[0])
    bits = 8 * table.dtype.itemsize
    if bits <= 16:
        lut = _code_bins(table)
        if in_columns:
            _columns_by_code(codes, codes.ctypes.data, lut, stride, strip, counts, near, totals)
        else:
            _rows_by_code(codes.T, lut, stride, counts, near, totals)
        return totals
    low, bound, shift, first = _cells(table)
    place = (np.uint64((1 << (bits - 1)) - 1), np.uint64(shift), np.uint64(first))
    if in_columns:
        address = codes.ctypes.data
        _columns_by_cell(codes, address, low, bound, place, stride, strip, counts, near, totals)
    else:
        _rows_by_cell(codes.T, low, bound, place, stride, counts, near, totals)
    return totals
