"""Kernels of the neuron-based multifractal analysis: counts, partition functions, dimensions.

Usable without the rest of neuromfa: they see arrays and numbers, no file and no model. The array
decides the device: what lies on an NVIDIA GPU is worked on there, and there are the results, CuPy
arrays that are ready when the caller's current stream (of the library that made the array) has come
so far. Everything is checked here, at the door; the compiled code behind it is
imported at the first call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import FractalDimension, NeighbourCounts, TileSums
from neuromfa_kernels.door import given_array, given_counts, new_counts, outputs, same_place, whole
from neuromfa_kernels.radius import (
    DTYPES,
    MAX_CUTOFF,
    ONE_RADIUS,
    TILE,
    TOO_FEW_EDGES,
    RadiusTable,
    radius_table,
)

__all__ = [
    "DTYPES",
    "MAX_CUTOFF",
    "ONE_RADIUS",
    "TILE",
    "TOO_FEW_EDGES",
    "FractalDimension",
    "NeighbourCounts",
    "RadiusTable",
    "TileSums",
    "count_neighbours",
    "fractal_dimension",
    "partition_function",
    "radius_table",
]


def count_neighbours(
    weights: Any,
    table: RadiusTable,
    *,
    neuron_axis: int,
    into: NeighbourCounts | None = None,
    threads: int | None = None,
) -> NeighbourCounts:
    """Count the edges of every neuron at every radius, exactly.

    Parameters
    ----------
    weights : array, shape (rows, cols)
        Stored weights of the dtype of `table`: a NumPy or CuPy array with any strides and any
        alignment, a torch tensor, or anything with ``__dlpack__``. Not copied.
    table : RadiusTable
        From `radius_table`, for the same dtype.
    neuron_axis : int
        1 if the neurons are columns (``nn.Linear``), 0 if they are rows (``Conv1D``).
    into : NeighbourCounts, optional
        Earlier counts of the same neurons on the same device, to which these are added in place.
    threads : int, optional
        Threads to use; every core this process may run on if None, which is all that makes sense
        for a GPU. Changes no result.

    Returns
    -------
    NeighbourCounts
        `into` itself if it was given. On a GPU: CuPy arrays, a radius' counts adjacent in memory.

    Raises
    ------
    TypeError
        If an array has another dtype than it must, or lies on another device.
    ValueError
        If a shape, `neuron_axis` or `threads` makes no sense.
    ImportError, MemoryError, RuntimeError
        If there is no CuPy for an array on a GPU, no room on it, or it fails; or if its arithmetic,
        which is tried on all values or bounds at the first use, is not exact.

    References
    ----------
    definitions, section 2; NeuroMFA (ICLR 2025, arXiv:2402.09099).

    Examples
    --------
    >>> import numpy as np
    >>> from neuromfa_kernels import count_neighbours, radius_table
    >>> weights = np.array([[0.5, 0.0], [-0.26, 0.001]], np.float32)
    >>> found = count_neighbours(weights, radius_table("float32", 5.0), neuron_axis=1)
    >>> found.counts.T.tolist()  # the first neuron has edges at the radii 2 and 4
    [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]
    >>> found.dropped.tolist()  # d <= 1, d > 5, zero, not finite
    [0, 1, 1, 0]
    """
    given = given_array(weights, "weights", threads)
    array = given.array
    if array.ndim != 2:
        raise ValueError(f"weights: have shape {array.shape}; must be (rows, cols)")
    if not isinstance(table, RadiusTable):
        raise TypeError(f"table: is {type(table).__name__}; make it with radius_table")
    if given.dtype != table.dtype:
        raise TypeError(
            f"weights: are {given.dtype.str} {given.dtype}; the table is for {table.dtype}"
        )
    if neuron_axis not in (0, 1):
        raise ValueError(f"neuron_axis {neuron_axis}: must be 0 (rows) or 1 (columns)")
    n = array.shape[neuron_axis]
    if into is None:
        into = out = new_counts(table.n_radii, n, given.driver)
    else:
        out = outputs(into, (table.n_radii, n), given.driver)
    if given.driver is None:
        from neuromfa_kernels import cpu

        cpu.add_neighbours(array, table, neuron_axis, out=out, threads=given.threads)
    else:
        from neuromfa_kernels import cuda

        cuda.add_neighbours(array, table, neuron_axis, out=out, driver=given.driver)
    return into


def partition_function(
    counts: Any,
    q: npt.ArrayLike,
    *,
    min_neighbours: int = 10,
    threads: int | None = None,
) -> TileSums:
    """Sum p^q and p^q ln p over the counted neurons of each tile.

    The order of summation is part of the definition: neurons in index order in tiles of `TILE`,
    inside a tile one after another with a fused multiply-add. The caller adds tiles in order.
    Equally spaced q (up to abs(q) = 15) are much faster than others.

    Parameters
    ----------
    counts : uint32 array, shape (n_radii, n_neurons)
        Neighbour counts n_i(r), r = 1..R.
    q : array_like of float, shape (n_q,)
        Moments, finite and strictly increasing.
    min_neighbours : int
        A neuron is counted if it has more than this many edges.
    threads : int, optional
        Threads to use; every core this process may run on if None. Changes no bit.

    Returns
    -------
    TileSums
        Within 1e-12, relative, of the exactly rounded sums. Where q is 0, Z is the number of
        counted neurons of the tile.
        On a GPU: CuPy arrays; of the same bits as on the CPU if q is equally spaced and no neuron
        has more than 131,070 edges.

    Raises
    ------
    TypeError
        If an array has another dtype than it must, or lies on another device.
    ValueError
        If a shape, `q`, `min_neighbours` or `threads` makes no sense.

    References
    ----------
    definitions, section 3; NeuroMFA (ICLR 2025, arXiv:2402.09099).

    Examples
    --------
    >>> import numpy as np
    >>> from neuromfa_kernels import partition_function
    >>> counts = np.array([[1, 3], [2, 0]], np.uint32)  # two radii, two neurons
    >>> found = partition_function(counts, [0, 1], min_neighbours=2)
    >>> found.counted, found.Z.shape
    (2, (1, 2, 2))
    >>> found.Z[0].tolist()
    [[2.0, 2.0], [1.5, 2.0]]
    """
    moments = np.atleast_1d(np.asarray(q, np.float64))
    if moments.ndim != 1 or not moments.size:
        raise ValueError(f"q: has shape {moments.shape}; must be a list of at least one number")
    if not np.isfinite(moments).all() or (np.diff(moments) <= 0).any():
        raise ValueError("q: must be finite and strictly increasing")
    few = whole(min_neighbours, "min_neighbours", 0)
    given = given_counts(counts, threads)
    if given.driver is not None:
        from neuromfa_kernels import cuda

        return cuda.partition_function(given.array, moments, few, given.driver)
    from neuromfa_kernels import cpu

    return cpu.partition_function(np.ascontiguousarray(given.array.T), moments, few, given.threads)


def fractal_dimension(
    counts: Any,
    near: Any = None,
    *,
    min_neighbours: int = 10,
    threads: int | None = None,
) -> FractalDimension:
    """Fit the fractal dimension of every neuron: slope of ln N_i(r) on ln r over its own radii.

    Parameters
    ----------
    counts : uint32 array, shape (n_radii, n_neurons)
        Neighbour counts n_i(r), r = 1..R.
    near : uint32 array, shape (2, n_neurons), optional
        Edges with d <= 0.5 (they count, but make no point) and with 0.5 < d <= 1 (radius 1).
    min_neighbours : int
        A neuron with at most this many edges (0 < d <= T) has no dimension.
    threads : int, optional
        Threads to use; every core this process may run on if None. Changes no bit.

    Returns
    -------
    FractalDimension
        A neuron's value depends on that neuron's counts only.

    Raises
    ------
    TypeError
        If an array has another dtype than it must, or lies on another device.
    ValueError
        If a shape, `min_neighbours` or `threads` makes no sense.

    References
    ----------
    definitions, section 5; NeuroMFA (ICLR 2025, arXiv:2402.09099).

    Examples
    --------
    >>> import numpy as np
    >>> from neuromfa_kernels import fractal_dimension
    >>> counts = np.array([[1, 0], [2, 0], [0, 0], [12, 1]], np.uint32)
    >>> found = fractal_dimension(counts, min_neighbours=2)
    >>> found.values.round(3).tolist(), found.reason.tolist()
    ([1.5, nan], [0, 1])
    """
    few = whole(min_neighbours, "min_neighbours", 0)
    given = given_counts(counts, threads)
    n = given.array.shape[1]
    nearest = None if near is None else same_place(near, "near", given.driver)
    if nearest is not None and nearest.dtype != np.uint32:
        raise TypeError(f"near: is {nearest.dtype}; must be uint32")
    if nearest is not None and nearest.shape != (2, n):
        raise ValueError(f"near: has shape {nearest.shape}; must be (2, {n})")
    if given.driver is not None:
        from neuromfa_kernels import cuda

        return cuda.fractal_dimension(given.array, nearest, few, given.driver)
    from neuromfa_kernels import cpu

    neurons = np.ascontiguousarray(given.array.T)
    nearest = np.zeros((2, n), np.uint32) if nearest is None else np.ascontiguousarray(nearest)
    return cpu.fractal_dimension(neurons, nearest, few, given.threads)
