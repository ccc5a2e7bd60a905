"""Fractal dimension of single neurons on the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import FractalDimension
from neuromfa_kernels.cpu_jit import kernel
from neuromfa_kernels.cpu_threads import spread
from neuromfa_kernels.powers import logarithm_table
from neuromfa_kernels.radius import ONE_RADIUS, TOO_FEW_EDGES

PER_JOB = 512
TABLE = 1 << 15
"""Numbers whose logarithms are looked up, at least: more than most neurons have edges."""


@kernel
def _fit(neuron: Any, counts: Any, near: Any, points: Any) -> Any:
    """Edges of a neuron, its number of radii, and the slope of ln N(r) on ln r over them."""
    log_r, x, y, own, logs = points
    n_radii = counts.shape[1]
    running = np.int64(own) + np.int64(near[0, neuron])
    n = 0
    x_mean = y_mean = 0.0
    for r in range(n_radii):
        here = np.int64(counts[neuron, r])
        if r == 0:
            here += np.int64(near[1, neuron])  # 0.5 < d <= 1 rounds to radius 1
        if here > 0:
            running += here
            x[n] = log_r[r]
            y[n] = logs[running] if running < len(logs) else math.log(running)
            x_mean += x[n]
            y_mean += y[n]
            n += 1
    if n < 2:
        return running - own, n, math.nan
    x_mean /= n
    y_mean /= n
    xx = xy = 0.0
    for k in range(n):
        xx += (x[k] - x_mean) * (x[k] - x_mean)
        xy += (x[k] - x_mean) * (y[k] - y_mean)
    return running - own, n, xy / xx


@kernel
def fit_neurons(span: Any, counts: Any, near: Any, settings: Any, out: Any) -> None:
    """Fractal dimension of the neurons first:last."""
    first, last = span
    min_neighbours, log_r, own, logs = settings
    values, reason = out
    points = (log_r, np.empty(len(log_r)), np.empty(len(log_r)), own, logs)
    for i in range(first, last):
        edges, radii, slope = _fit(i, counts, near, points)
        values[i], reason[i] = slope, 0
        if edges <= min_neighbours:
            values[i], reason[i] = math.nan, TOO_FEW_EDGES
        elif radii < 2:
            reason[i] = ONE_RADIUS


def fractal_dimension(
    counts: npt.NDArray[np.uint32],
    near: npt.NDArray[np.uint32],
    min_neighbours: int,
    threads: int,
    *,
    radii: npt.NDArray[np.float64] | None = None,
    own: int = 1,
) -> FractalDimension:
    """Slope of ln N_i(r) on ln r over each neuron's own radii; `counts` is [n, R].

    Radii are 1..R unless given; `own` is 1 where a neuron counts itself, and else 0.
    """
    n, n_radii = counts.shape
    out = FractalDimension(np.empty(n), np.empty(n, np.uint8))
    logs = logarithm_table(max(TABLE, n_radii + 1))
    log_r = logs[1 : n_radii + 1] if radii is None else np.log(radii)
    settings = (min_neighbours, log_r.copy(), own, logs)

    def fit(first: int) -> None:
        fit_neurons((first, min(first + PER_JOB, n)), counts, near, settings, tuple(out))

    spread(fit, range(0, n, PER_JOB), threads)
    return out
