"""Neighbour counts on a GPU (definitions, section 2): launches and passes over the radii."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.cuda_driver import Driver
from neuromfa_kernels.cuda_items import Way, items_of, matrix_of, part_of, ways
from neuromfa_kernels.radius import RadiusTable, radius_table

LANE_BYTES = 128
"""A row of counters of 32 lanes."""
SPARE_ROWS = 3
"""Trash, d <= 0.5 and d <= 1, after the rows of a pass."""
LARGEST_PROVEN = {"bfloat16": 4000, "float16": 1024, "float32": 4000}
"""Radii up to which the arithmetic of weights.cuh is proven; above them bins are looked up."""
AT_ONCE = 16
"""Matrices of one launch: enough that its end costs little, few enough that the next are described
while they are counted."""
RESERVED = 1024
"""Shared memory that the system takes of each block, and more than ours has of static ones."""


Launch = tuple[str, int, tuple[Any, ...]]
"""Kernel, counters of a neuron, arguments after the items."""


def add_neighbours(
    weights: Any,
    table: RadiusTable,
    neuron_axis: int,
    *,
    out: NeighbourCounts,
    driver: Driver,
) -> None:
    """Add the edges in `weights` to `out`, both on the driver's GPU."""
    add_many([(weights, out)], table, neuron_axis, driver=driver)


def add_many(
    jobs: Iterable[tuple[Any, NeighbourCounts]],
    table: RadiusTable,
    neuron_axis: int,
    *,
    driver: Driver,
) -> None:
    """Add the edges of several matrices in few launches: no GPU waits at the end of each.

    Parameters
    ----------
    jobs : iterable of (weights, NeighbourCounts)
        Weights [rows, cols] of the table's type, or their codes, and what they are added to; all
        on the driver's GPU. The same counts may be given twice.
    """
    arithmetic, some = _is_proven(table), iter(jobs)
    while batch := list(islice(some, AT_ONCE)):
        parts: dict[Way, list[tuple[int, ...]]] = {}
        for weights, out in batch:
            matrix = matrix_of(weights, neuron_axis, driver)
            for way, first, part in ways(matrix, table.dtype, arithmetic=arithmetic):
                parts.setdefault(way, []).append(part_of(part, out, first, driver))
        for way, described in parts.items():
            _launch(way, described, _passes(way, table, driver), driver)


def _passes(way: Way, table: RadiusTable, driver: Driver) -> list[Launch]:
    if way.source == "neighbours_any.cu":
        return _passes_over_bins(way, table, driver)
    if table.dtype.itemsize == 1:
        bins = driver.from_host(table.bins(np.arange(128)))
        return [(way.kernel, 128, (bins, np.uint32(table.n_radii)))]
    check_arithmetic(table, driver)
    return _passes_over_rows(way, table, driver)


def _is_proven(table: RadiusTable) -> bool:
    """Whether distances are plain inverses, and the arithmetic is exact up to the cutoff."""
    if table.n_radii > LARGEST_PROVEN.get(table.dtype.name, 0):
        return False
    return np.array_equal(table.bounds, radius_table(table.dtype, table.cutoff).bounds)


def _launch(way: Way, parts: list[tuple[int, ...]], passes: list[Launch], driver: Driver) -> None:
    """Launch once for each pass."""
    rows = passes[0][1]  # the most of all passes
    shared = rows * way.lane_neurons * LANE_BYTES + way.staging
    at_a_time = (driver.shared_memory + RESERVED) // (shared + RESERVED)
    blocks = driver.multiprocessors * max(1, min(way.blocks, at_a_time))
    items = items_of(parts, way, rows=rows, blocks=blocks)
    queue = driver.from_host(items.view(np.uint8))
    tickets = driver.zeros(len(passes), np.uint32)
    for i, (kernel, _, args) in enumerate(passes):
        driver.launch(
            driver.kernel(way.source, kernel),
            [queue, np.uint32(len(items)), tickets[i : i + 1], *args],
            grid=min(len(items), blocks),
            block=way.threads,
            shared=shared,
        )


def _capacity(way: Way, driver: Driver) -> int:
    """Rows of counters that fit the shared memory of a block beside its few static bytes."""
    room = driver.shared_memory - RESERVED - way.staging
    return room // (way.lane_neurons * LANE_BYTES)


def _passes_over_bins(way: Way, table: RadiusTable, driver: Driver) -> list[Launch]:
    bits = 8 * table.dtype.itemsize - 1
    codes = np.arange(1 << bits if bits < 16 else 1, dtype=np.uint64)
    of_code = driver.from_host(table.bins(codes))
    bounds = driver.from_host(table.bounds)
    most = _capacity(way, driver)
    passes: list[Launch] = []
    for first in range(0, table.n_bins, most):
        n = min(most, table.n_bins - first)
        numbers = (len(table.bounds), table.n_radii, first, n)
        passes.append((way.kernel, n, (of_code, bounds, *map(np.uint32, numbers))))
    return passes


def _passes_over_rows(way: Way, table: RadiusTable, driver: Driver) -> list[Launch]:
    most = _capacity(way, driver) - SPARE_ROWS
    value = _values_at(table)
    passes: list[Launch] = []
    for first in range(0, table.n_radii + 1, most):
        rows = min(most, table.n_radii + 1 - first)
        later = first > 0
        # row k is bin k + 2; `highest` is the value just below those of the rows before
        lowest, highest = value(first + rows + 1), value(first + 1, below=True) if later else 0
        numbers = (np.float32(lowest), np.float32(highest), np.uint32(first), np.uint32(rows))
        kernel = f"{way.kernel}_later" if later else way.kernel
        passes.append((kernel, rows + SPARE_ROWS, numbers))
    return passes


def _values_at(table: RadiusTable) -> Any:
    """f(b): the smallest abs(w) whose bin is at most b; or the largest one below it."""

    def value(b: int, *, below: bool = False) -> np.float32:
        code = table.bounds[b : b + 1] - np.uint64(below)
        stored = code.astype(f"u{table.dtype.itemsize}").view(table.dtype)
        return stored.astype(np.float32)[0]  # type: ignore[no-any-return]

    return value


_checked: set[tuple[str, str, float]] = set()


def check_arithmetic(table: RadiusTable, driver: Driver) -> None:
    """Hold the arithmetic of this GPU against the table, once: all codes, or all bounds.

    Raises
    ------
    RuntimeError
        If they differ anywhere: then nothing that this GPU counts can be trusted.
    """
    key = (driver.name, table.dtype.name, table.cutoff)
    if key in _checked:
        return
    bits = 8 * table.dtype.itemsize - 1
    if bits < 16:
        codes = np.arange(1 << bits, dtype=np.uint64)
    else:
        near = table.bounds[:, np.newaxis] + np.arange(-3, 4).astype(np.uint64)
        codes = np.unique(near[near < 1 << bits])
    wrong = wrong_bins(codes, table, driver)
    if wrong:
        raise RuntimeError(
            f"{driver.name}: gives {wrong} of {2 * len(codes)} {table.dtype} values a wrong radius "
            f"at cutoff {table.cutoff:g}; count on another device, and report this one"
        )
    _checked.add(key)


def wrong_bins(codes: npt.NDArray[np.uint64], table: RadiusTable, driver: Driver) -> int:
    """How many values, of both signs, the arithmetic of a GPU puts into another bin than the table.

    Parameters
    ----------
    codes : uint64 array, shape (n,)
        Bits of abs(w), for bfloat16, float16 and float32.
    """
    bins = table.bins(codes)
    negative = codes | np.uint64(1 << (8 * table.dtype.itemsize - 1))
    words = np.concatenate([codes, negative]).astype(np.uint32)
    wrong = driver.zeros(1, np.uint32)
    driver.launch(
        driver.kernel("neighbours_columns.cu", f"check_{table.dtype.name}"),
        [
            driver.from_host(words),
            driver.from_host(np.concatenate([bins, bins])),
            np.uint32(len(words)),
            _values_at(table)(table.n_radii + 2),
            np.uint32(table.n_radii),
            wrong,
        ],
        grid=-(-len(words) // 256),
        block=256,
    )
    return int(driver.to_host(wrong)[0])
