"""What the kernels return, whichever device they ran on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class NeighbourCounts(NamedTuple):
    """Exact numbers of edges (definitions, section 2).

    Attributes
    ----------
    counts : uint32 array, shape (n_radii, n_neurons)
        n_i(r) for r = 1..R. On the CPU a neuron's counts are adjacent in memory.
    near : uint32 array, shape (2, n_neurons)
        Edges with d <= 0.5 and with 0.5 < d <= 1.
    dropped : int64 array, shape (4,)
        Weights with d <= 1 (the sum of `near`), with d > cutoff, zero, and not finite.
    """

    counts: npt.NDArray[np.uint32]
    near: npt.NDArray[np.uint32]
    dropped: npt.NDArray[np.int64]


class TileSums(NamedTuple):
    """Partition functions of each tile of 1,024 neurons (definitions, section 3).

    Attributes
    ----------
    Z, Z_log : float64 array, shape (n_tiles, n_q, n_radii)
        Sums of p^q and of p^q ln p over the counted neurons of a tile.
    counted : int
        Neurons with more than `min_neighbours` edges. From a GPU an int64 array of shape (), so
        that nobody waits before the number is wanted.
    observed : int64 array, shape (n_radii,)
        How many counted neurons have an edge at each radius.
    """

    Z: npt.NDArray[np.float64]
    Z_log: npt.NDArray[np.float64]
    counted: int
    observed: npt.NDArray[np.int64]


class FractalDimension(NamedTuple):
    """Fractal dimension of each neuron (definitions, section 5).

    Attributes
    ----------
    values : float64 array, shape (n_neurons,)
        Slope of ln N_i(r) on ln r, NaN where it is undefined.
    reason : uint8 array, shape (n_neurons,)
        0 defined, 1 too few edges (`TOO_FEW_EDGES`), 2 fewer than two radii (`ONE_RADIUS`).
    """

    values: npt.NDArray[np.float64]
    reason: npt.NDArray[np.uint8]
