"""Partition functions on the CPU, in the canonical order of summation.

Neurons in tiles of `TILE`; inside a tile one after another, with a fused multiply-add, in every
(q, radius). Vector lanes are radii, so neither their number nor the threads can change a bit.
Powers come from the tables of `powers`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import TileSums
from neuromfa_kernels.cpu_jit import fma, kernel
from neuromfa_kernels.cpu_memory import empty, zeros
from neuromfa_kernels.cpu_threads import spread
from neuromfa_kernels.cpu_vectors import LANES, add_products, look_up, raise_powers
from neuromfa_kernels.powers import (
    CHUNK,
    COLUMNS,
    TABLE_SIZE,
    power_table,
    spacing,
)
from neuromfa_kernels.radius import TILE

GROUP = 16
"""Neurons per pass over the sums: their powers fit the first-level cache."""
SMALL_WORK = 1 << 20
"""Multiply-adds below which a second thread costs more than it saves."""
JOBS_PER_THREAD = 2


@kernel
def _select(counts: Any, span: Any, min_neighbours: Any, chosen: Any) -> Any:
    """N_i(r) at the radii first:last of the counted neurons start:stop; how many these are.

    Rows of `within` are padded with N_i(T), where p = 1.
    """
    start, stop, first, last = span
    within, total = chosen
    n_radii = counts.shape[1]
    counted = 0
    for i in range(start, stop):
        edges = np.int64(0)
        for r in range(n_radii):
            edges += np.int64(counts[i, r])
        if edges <= min_neighbours:
            continue
        running = np.int64(1)
        for r in range(first):
            running += np.int64(counts[i, r])
        for r in range(first, last):
            running += np.int64(counts[i, r])
            within[counted, r - first] = running
        within[counted, last - first :] = edges + 1
        total[counted] = edges + 1
        counted += 1
    return counted


@kernel
def _log_measure(a: Any, b: Any) -> Any:
    """ln(a/b) to full relative precision."""
    if 2 * a < b:
        return math.log(a / b)
    return math.log1p(-float(b - a) / b)


@kernel
def _measures(chosen: Any, corner: Any, plan: Any, out: Any) -> None:
    """p^h, p^q_0 and ln p of some neurons at `LANES` radii."""
    within, total = chosen
    first, n, block = corner
    h, q_0, powers = plan
    x, u, log_p = out
    for g in range(n):
        b = np.int64(total[first + g])
        if b < len(powers):
            place = (first + g) * within.shape[1] + block
            look_up(powers, within, place, total[first + g], (x, u, log_p), g)
        else:
            for k in range(LANES):
                log_p[g, k] = _log_measure(np.int64(within[first + g, block + k]), b)
                x[g, k] = math.exp(h * log_p[g, k])
                u[g, 0, k] = math.exp(q_0 * log_p[g, k])


@kernel
def _scratch(vectors: Any) -> Any:
    """Zeros [vectors, LANES] that begin at a cache line, so that no vector crosses one."""
    room = np.zeros((vectors + 1) * LANES)
    first = (-room.ctypes.data // 8) % LANES
    return room[first : first + vectors * LANES]


@kernel
def factorised_tile(neurons: Any, span: Any, plan: Any, room: Any, out: Any) -> None:
    """Z and Z_log [q, radius] of a tile at the radii first:last, for up to `CHUNK` spaced q.

    `room` is for N_i(r) [neurons, whole vectors] and N_i(T).
    """
    _, _, first, last = span
    counts, min_neighbours = neurons
    within, total = room
    Z, Z_log = out
    n_q = Z.shape[0]
    rows = (n_q + COLUMNS - 1) // COLUMNS
    padded = within.shape[1]
    counted = _select(counts, span, min_neighbours, (within, total))
    sums = _scratch(CHUNK).reshape((CHUNK, LANES))
    sums_log = _scratch(CHUNK).reshape((CHUNK, LANES))
    x = _scratch(GROUP).reshape((GROUP, LANES))
    log_p = _scratch(GROUP).reshape((GROUP, LANES))
    u = _scratch(GROUP * COLUMNS).reshape((GROUP, COLUMNS, LANES))
    v = _scratch(GROUP * COLUMNS).reshape((GROUP, COLUMNS, LANES))
    v[:, 0] = 1.0
    for block in range(0, padded, LANES):
        sums[:] = 0.0
        sums_log[:] = 0.0
        for group in range(0, counted, GROUP):
            n = min(GROUP, counted - group)
            corner = (group, n, block)
            _measures((within, total), corner, plan, (x, u, log_p))
            raise_powers(x, u, v, n)
            add_products(sums, sums_log, u, v, log_p, rows, n)
        for r in range(block, min(block + LANES, last - first)):
            for k in range(n_q):
                Z[k, first + r] = sums[k, r - block]
                Z_log[k, first + r] = sums_log[k, r - block]


@kernel
def general_tile(neurons: Any, span: Any, q: Any, out: Any) -> None:
    """Z and Z_log [q, radius] of a tile at the radii first:last, for any q."""
    counts, min_neighbours = neurons
    start, stop, first, last = span
    Z, Z_log = out
    within = np.empty((stop - start, last - first), np.uint32)
    total = np.empty(stop - start, np.uint32)
    counted = _select(counts, span, min_neighbours, (within, total))
    for i in range(counted):
        for r in range(last - first):
            log_p = _log_measure(np.int64(within[i, r]), np.int64(total[i]))
            for k in range(len(q)):
                power = math.exp(q[k] * log_p)
                Z[k, first + r] += power
                Z_log[k, first + r] = fma(power, log_p, Z_log[k, first + r])


@kernel
def count_observed(counts: Any, min_neighbours: Any, observed: Any) -> Any:
    """Add the counted neurons that have an edge at each radius.

    Their number per tile, and the most edges that a neuron has.
    """
    n, n_radii = counts.shape
    counted = np.zeros((n + TILE - 1) // TILE, np.int64)
    most = np.int64(0)
    for i in range(n):
        edges = np.int64(0)
        for r in range(n_radii):
            edges += np.int64(counts[i, r])
        most = max(most, edges)
        if edges > min_neighbours:
            counted[i // TILE] += 1
            for r in range(n_radii):
                observed[r] += counts[i, r] > 0
    return counted, most


def partition_function(
    counts: npt.NDArray[np.uint32], q: npt.NDArray[np.float64], min_neighbours: int, threads: int
) -> TileSums:
    """Sum p^q and p^q ln p over the counted neurons of each tile; `counts` is [n, R]."""
    n, n_radii = counts.shape
    observed = np.zeros(n_radii, np.int64)
    counted, most = count_observed(counts, min_neighbours, observed)
    Z, Z_log = zeros((2, len(counted), len(q), n_radii), np.float64)
    if n * n_radii * len(q) < SMALL_WORK:
        threads = 1
    h = spacing(q)
    size = _table_size(most + 2) if h is not None else 0
    n_blocks = -(-n_radii // LANES)
    parts = min(n_blocks, -(-threads * JOBS_PER_THREAD // max(1, len(counted))))
    radii = -(-n_blocks // parts) * LANES

    def add(job: tuple[int, int]) -> None:
        tile, first = job
        last = min(first + radii, n_radii)
        span = (tile * TILE, min(tile * TILE + TILE, n), first, last)
        if h is None:
            general_tile((counts, min_neighbours), span, q, (Z[tile], Z_log[tile]))
            return
        padded = -(-(last - first) // LANES) * LANES
        room = (empty((TILE, padded), np.uint32), np.empty(TILE, np.uint32))
        for k in range(0, len(q), CHUNK):
            plan = (h, float(q[k]), power_table(h, float(q[k]), size))
            out = (Z[tile, k : k + CHUNK], Z_log[tile, k : k + CHUNK])
            factorised_tile((counts, min_neighbours), span, plan, room, out)

    spread(add, [(t, r) for t in range(len(counted)) for r in range(0, n_radii, radii)], threads)
    Z[:, q == 0] = counted[:, np.newaxis, np.newaxis]
    return TileSums(Z, Z_log, int(counted.sum()), observed)


def _table_size(least: int) -> int:
    """Entries of the table of powers: a power of two, so that few tables are made."""
    return min(TABLE_SIZE, max(1 << 12, 1 << (least - 1).bit_length()))
