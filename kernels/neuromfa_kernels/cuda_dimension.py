"""Fractal dimension of single neurons on a GPU: the launcher of `dimension.cu`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa_kernels.answers import FractalDimension
from neuromfa_kernels.powers import TABLE_SIZE, logarithm_table
from neuromfa_kernels.radius import ONE_RADIUS, TOO_FEW_EDGES

if TYPE_CHECKING:
    from neuromfa_kernels.cuda_driver import Driver

SOURCE = "dimension.cu"
THREADS = 128
DEFINES: Mapping[str, int] = {
    "THREADS": THREADS,
    "TOO_FEW_EDGES": TOO_FEW_EDGES,
    "ONE_RADIUS": ONE_RADIUS,
}
VARIANTS = ((SOURCE, DEFINES),)
"""Everything that is ever compiled."""

_tables: dict[str, Any] = {}


def fractal_dimension(
    counts: Any, near: Any, min_neighbours: int, driver: Driver
) -> FractalDimension:
    """Fit the slope of ln N_i(r) on ln r over each neuron's own radii.

    Parameters
    ----------
    counts : uint32 device array, shape (n_radii, n_neurons)
        With any strides; adjacent neurons are fastest.
    near : uint32 device array, shape (2, n_neurons), or None
        Edges with d <= 0.5 and with 0.5 < d <= 1, with any strides.
    min_neighbours : int
        A neuron with at most this many edges has no dimension.
    driver : Driver
        The GPU on which the arrays lie.

    Returns
    -------
    FractalDimension
        Device arrays.

    References
    ----------
    definitions, section 5; NeuroMFA (ICLR 2025, arXiv:2402.09099).
    """
    n_radii, n = counts.shape
    found = FractalDimension(driver.empty(n, np.float64), driver.empty(n, np.uint8))
    if not n:
        return found
    if near is None:
        near = driver.zeros((2, n), np.uint32)
    strides = [np.int64(step // 4) for step in (*counts.strides, *near.strides)]
    args = (counts, *strides[:2], near, *strides[2:], np.uint32(n), np.uint32(n_radii))
    args += (np.uint64(min(min_neighbours, 1 << 62)), _table(driver), np.uint32(TABLE_SIZE))
    kernel = driver.kernel(SOURCE, "fit_neurons", defines=DEFINES)
    driver.launch(kernel, (*args, *found), grid=-(-n // THREADS), block=THREADS)
    return found


def _table(driver: Driver) -> Any:
    """Table of logarithms on a device."""
    if driver.name not in _tables:
        table = driver.from_host(logarithm_table(TABLE_SIZE))
        driver.to_host(table[:1])  # other streams may use it: be sure that it has arrived
        _tables[driver.name] = table
    return _tables[driver.name]
