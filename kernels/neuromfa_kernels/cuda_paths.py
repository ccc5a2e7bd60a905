"""Shortest paths over one more layer on a GPU: the launcher of `paths.cu`, the CPU's bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from neuromfa_kernels.cuda_driver import Driver

SOURCE = "paths.cu"
WARPS, ROWS, TARGETS = 8, 8, 128
"""Warps of a block, the sources of each, and the targets of all."""
THREADS = 32 * WARPS
DEFINES: Mapping[str, int] = {"THREADS": THREADS, "ROWS": ROWS, "UNITS": 32, "TARGETS": TARGETS}
VARIANTS = ((SOURCE, DEFINES),)
"""Everything that is ever compiled."""
MOST_ROWS = 65_535
"""Rows of a grid."""


def edge_lengths(
    weights: npt.NDArray[Any], cutoff: float, wrong: Any, driver: Driver, *, out: Any = None
) -> Any:
    """Bring weights to a GPU and find the lengths of their edges there.

    Parameters
    ----------
    weights : array, shape (n_units, n_targets)
        As stored, on the host; one of the two strides that of neighbours.
    cutoff : float
        Longest edge that counts.
    wrong : uint32 device array, shape (1,)
        Set to 1 if a weight is NaN or infinite; such edges are infinitely long.
    driver : Driver
        The GPU.
    out : float64 device array, shape (n_units, n_targets), optional
        Where to; its rows may lie apart.

    Returns
    -------
    float64 device array, shape (n_units, n_targets)
        1/abs(w) where it is above 1 and at most `cutoff`, else infinite.
    """
    units, targets = weights.shape
    if out is None:
        out = driver.empty((units, targets), np.float64)
    if not units or not targets:
        return out
    turned = weights.strides[0] < weights.strides[1]
    rows = np.ascontiguousarray(weights.T if turned else weights)
    kind, table = _kind(weights.dtype)
    codes = driver.from_host(rows.view(f"u{rows.itemsize}") if len(table) else rows)
    step = np.int64(rows.shape[1])
    strides = (np.int64(1), step) if turned else (step, np.int64(1))
    known, by_row = driver.from_host(table), np.uint64(out.strides[0] // 8)
    for first in range(0, units, 32 * MOST_ROWS):
        n = min(units - first, 32 * MOST_ROWS)
        args: tuple[Any, ...] = (codes[:, first:] if turned else codes[first:], *strides)
        args += (np.uint32(n), np.uint32(targets), np.float64(cutoff), known, out[first:])
        grid = (-(-targets // 32), -(-n // 32))
        _launch(driver, f"measure_{kind}", (*args, by_row, wrong), grid=grid)
    return out


def _kind(dtype: np.dtype[Any]) -> tuple[str, npt.NDArray[np.float64]]:
    """Which kernel takes weights of a type, and a table of lengths for types of few codes."""
    if dtype.itemsize > 2:
        return dtype.name, np.zeros(0)
    codes = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}")
    with np.errstate(all="ignore"):
        size = np.abs(codes.view(dtype).astype(np.float64))
        return f"codes{8 * dtype.itemsize}", np.where(np.isfinite(size), 1.0 / size, np.nan)


def extend_paths(ways: Any, lengths: Any, cutoff: float, driver: Driver, *, out: Any = None) -> Any:
    """Find shortest paths over one more layer.

    Parameters
    ----------
    ways : float64 device array, shape (n_sources, n_units)
        Lengths of ways, above 1/2, row-major.
    lengths : float64 device array, shape (n_units, n_targets)
        Lengths of edges, above 1/2, row-major.
    cutoff : float
        Longest path that matters.
    driver : Driver
        The GPU on which both lie.
    out : float64 device array, shape (n_sources, n_targets), optional
        Where to; its rows may lie apart.

    Returns
    -------
    float64 device array, shape (n_sources, n_targets)
        Exact where it is at most `cutoff`; elsewhere anything that is larger.
    """
    sources, units = map(int, ways.shape)
    targets = int(lengths.shape[1])
    if out is None:
        out = driver.empty((sources, targets), np.float64)
    if not sources or not targets:
        return out
    nearest, least = _row_minima(ways, driver), _row_minima(lengths, driver)
    step = np.uint64(out.strides[0] // 8)
    most = MOST_ROWS * WARPS * ROWS
    for first in range(0, sources, most):
        mine = slice(first, min(first + most, sources))
        n = mine.stop - first
        args: tuple[Any, ...] = (
            ways[mine],
            nearest[mine],
            np.uint32(n),
            np.uint32(units),
            lengths,
            least,
        )
        args += (np.uint32(targets), np.float64(cutoff), out[mine], step)
        _launch(driver, "extend", args, grid=(-(-targets // TARGETS), -(-n // (WARPS * ROWS))))
    return out


def nearest(ways: Sequence[Any], driver: Driver) -> Any:
    """Find the shortest of several ways to the same units.

    Parameters
    ----------
    ways : sequence of float64 device arrays, shape (n_sources, n_units)
        With any strides.
    driver : Driver
        The GPU on which they lie.

    Returns
    -------
    float64 device array, shape (n_sources, n_units)
        A new one, row-major.
    """
    shape = tuple(map(int, ways[0].shape))
    out = driver.empty(shape, np.float64)
    n = shape[0] * shape[1]
    grid = max(1, min(-(-n // THREADS), 8 * driver.multiprocessors))
    for k, other in enumerate(ways if n else ()):
        strides = [np.int64(step // 8) for step in other.strides]
        args = (out, other, *strides, np.uint32(shape[1]), np.uint64(n), np.uint32(k == 0))
        _launch(driver, "keep_nearer", args, grid=grid)
    return out


def count_paths(ways: Any, cutoff: float, counts: Any, driver: Driver) -> None:
    """Add the units within the cutoff to counts, by radius.

    Parameters
    ----------
    ways : float64 device array, shape (n_sources, n_units)
        Lengths of shortest paths, above 1/2, row-major.
    cutoff : float
        Longest path that counts.
    counts : uint32 device array, shape (n_radii, n_sources)
        Added to; with any strides.
    driver : Driver
        The GPU on which both lie.
    """
    sources, units = map(int, ways.shape)
    if not sources or not units:
        return
    n_radii = int(counts.shape[0])
    strides = [np.int64(step // 4) for step in counts.strides]
    args = (ways, np.uint64(units), np.uint32(units), np.float64(cutoff), np.uint32(n_radii))
    _launch(driver, "count", (*args, counts, *strides), grid=sources, shared=4 * n_radii)


def smallest(matrix: Any, driver: Driver) -> float:
    """Smallest number of a row-major matrix; 0 if one is NaN."""
    minima: npt.NDArray[np.float64] = driver.to_host(_row_minima(matrix, driver))
    return float(minima.min(initial=np.inf))


def _row_minima(matrix: Any, driver: Driver) -> Any:
    rows, columns = map(int, matrix.shape)
    found = driver.empty(rows, np.float64)
    if rows:
        args = (matrix, np.uint64(columns), np.uint32(rows), np.uint32(columns), found)
        _launch(driver, "row_minima", args, grid=-(-rows // WARPS))
    return found


def _launch(
    driver: Driver, name: str, args: tuple[Any, ...], *, grid: Any, shared: int = 0
) -> None:
    kernel = driver.kernel(SOURCE, name, defines=DEFINES)
    driver.launch(kernel, args, grid=grid, block=THREADS, shared=shared)
