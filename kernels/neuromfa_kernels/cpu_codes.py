"""Neighbour counts of types of 8 bits on the CPU: window after window of neurons.

A window is as many neurons as a step of `cpu_batches` has room for. How many of their codes reach
each bound is read from the sums of all steps, and differences of these are the counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.cpu_batches import BATCH, FIRST, LOWS, ROWS, count_batches
from neuromfa_kernels.cpu_bits import ROW, WORD, WORDS, add_lanes, add_words, get
from neuromfa_kernels.cpu_jit import kernel, load
from neuromfa_kernels.radius import FIRST_RADIUS, NEAREST, NONFINITE, RadiusTable

U = np.uint64
TOGETHER = WORDS * WORD
"""Weights of a step."""
MOST_BATCHES = 1 << 13
"""What a sum has room for, and more edges than most layers have."""
LINE = 16
"""Totals to a line of the cache."""


@kernel
def _read(sums: Any, batches: Any, by_lane: Any, totals: Any) -> None:
    """Add sums to `totals`, of each bound the numbers of lanes or of words."""
    row, numbers = U(sums.ctypes.data), U(totals.ctypes.data)
    for _ in range(sums.shape[0]):
        for digit in range(sums.shape[1]):
            level = max(0, digit - FIRST) // 2
            value = U(min(digit, FIRST) + level)
            second = digit > FIRST and (digit - FIRST) % 2 == 1
            if second and not batches >> level & 1:
                pass  # was added to the next digit
            elif by_lane:
                for word in range(WORDS):
                    bits = load(row + U(8 * word), U(0))
                    add_lanes(bits, value, numbers + U(4 * WORD * word))
            else:
                add_words(get(row), value, numbers)
            row += U(ROW)
        numbers += U(totals.strides[0])


@kernel
def _empty(totals: Any, bins: Any, neurons: Any, edges: Any, out: Any) -> None:
    """Add totals to the counts: `neurons` is the first of them, how many, and the first's lane."""
    counts, near, dropped = out
    first, n, lane = neurons
    above = counts.shape[1] + FIRST_RADIUS
    for j in range(n):
        before = np.uint32(0)
        for k in range(len(bins)):
            reached = totals[k, lane + j]
            found = reached - before
            before = reached
            b = bins[k]
            if b == above:
                dropped[1] += found
            elif b >= FIRST_RADIUS:
                counts[first + j, b - FIRST_RADIUS] += found
            elif b == NONFINITE:
                dropped[3] += found
            else:
                near[b - NEAREST, first + j] += found
                dropped[0] += found
        dropped[2] += edges - np.int64(before)


@kernel
def _windows(view: Any, shape: Any, span: Any, plan: Any, out: Any) -> None:
    """Count the neurons of a span, as many at a time as a step has lanes or words for.

    The last ones are counted together with some before them, which are then left out.
    """
    address, down, across = view
    edges, neurons = shape
    bounds, bins, columns, room, sums = plan
    width = TOGETHER if columns else WORDS
    totals = np.empty((len(bounds), width + LINE), np.uint32)  # else all rows share cache sets
    for first in range(span[0], span[1], width):
        begin = max(0, min(first, neurons - width))
        n = min(width, neurons - begin)
        at = address + begin * across
        if columns:
            steps, words, rest = edges, (n + WORD - 1) // WORD, (WORD, (n - 1) % WORD + 1)
            strides = (down, WORD * across, across)
        else:
            steps, words, rest = (edges + WORD - 1) // WORD, n, ((edges - 1) % WORD + 1, WORD)
            strides = (WORD * down, across, down)
        totals[:] = 0
        most = (1 << ((sums.shape[1] - FIRST) // 2)) - 1
        for start in range(0, steps, most * BATCH):
            some = min(most * BATCH, steps - start)
            sizes = (some, words, rest[0] if start + some == steps else WORD, rest[1])
            then = at + width * across
            count_batches((at + start * strides[0], *strides), sizes, then, bounds, room, sums)
            _read(sums, (some + BATCH - 1) // BATCH, columns, totals)
        last = min(first + width, span[1])
        _empty(totals, bins, (first, last - first, first - begin), edges, out)


@lru_cache(maxsize=256)
def _bounds(table: RadiusTable) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Smallest code of each bin that has codes, the largest first, and the bins; not of zero."""
    bins = table.bins(np.arange(128)).astype(np.int64)
    bounds = np.flatnonzero(np.diff(bins)) + 1
    bounds = bounds[::-1]
    return bounds.astype(np.uint8), bins[bounds]


def _rows(n: int) -> npt.NDArray[np.uint64]:
    """Room for rows, where a row may lie."""
    room = np.zeros((n + 1) * WORDS, np.uint64)
    first = -room.ctypes.data % ROW // 8
    return room[first : first + n * WORDS].reshape(n, WORDS)


def count_codes(
    matrix: npt.NDArray[Any], table: RadiusTable, span: tuple[int, int], out: Any
) -> npt.NDArray[np.int64]:
    """Count some neurons of a matrix [edges, neurons] in one thread.

    `out` is counts [neurons, radii] and near [2, neurons]; the answer is how many weights lie below
    the range, above it, are zero, and are not finite.
    """
    (down, across), shape = matrix.strides, matrix.shape
    columns = abs(across) <= abs(down)
    bounds, bins = _bounds(table)
    dropped = np.zeros(4, np.int64)
    rows = _rows(ROWS)
    rows.reshape(-1, BATCH, WORDS)[[0, LOWS]] = ~U(0)  # what all reach: 0
    room = (np.zeros((WORDS, WORD // 8), np.uint64), U(rows.ctypes.data))
    batches = -(-shape[0] // (BATCH if columns else BATCH * WORD))
    digits = FIRST + 2 * min(batches, MOST_BATCHES - 1).bit_length()
    sums = _rows(len(bounds) * digits).reshape(len(bounds), digits, WORDS)
    view = (matrix.__array_interface__["data"][0], down, across)
    plan = (bounds, bins, columns, room, sums)
    _windows(view, shape, span, plan, (*out, dropped))
    return dropped
