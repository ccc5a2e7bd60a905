"""Frobenius and spectral norm of a weight matrix that is read block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.multifractal import Float64
from neuromfa.network import Map
from neuromfa.protocol import Protocol

BLOCK_WEIGHTS = 1 << 18
"""Weights that are widened at a time."""
TOLERANCE = 1e-6
"""Residual, relative to the eigenvalue, at which the largest one is known well enough."""


def map_norms(checkpoint: Checkpoint, part: Map, protocol: Protocol) -> dict[str, float | None]:
    """Norms and stable rank of one map.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where the weights are.
    part : Map
        The matrix.
    protocol : Protocol
        Dropped weights that are not finite are taken as zeros.

    Returns
    -------
    dict
        ``frobenius_norm``, ``spectral_norm`` and ``stable_rank``, the squared ratio of the two;
        None where the matrix is zero or its squares leave the range of float64.
    """

    def blocks() -> Iterator[Float64]:
        step = max(1, BLOCK_WEIGHTS // part.cols)
        for start in range(part.start, part.stop, step):
            stop = min(start + step, part.stop)
            block = checkpoint.read(part.tensor, start, stop, cols=part.cols).astype(np.float64)
            if protocol.nonfinite == "drop":
                block[~np.isfinite(block)] = 0.0
            yield block

    with np.errstate(over="ignore", under="ignore"):
        squares = [float((block * block).sum()) for block in blocks()]
        total = math.fsum(squares) if all(map(math.isfinite, squares)) else math.inf
        if total == 0 or not math.isfinite(total):
            norm = 0.0 if total == 0 else None
            return {"frobenius_norm": norm, "spectral_norm": norm, "stable_rank": None}
        steps = min(part.rows + 1, part.cols)  # the start also lies in what W takes to zero
        largest = _largest_eigenvalue(blocks, part.cols, steps=steps)
    return {
        "frobenius_norm": math.sqrt(total),
        "spectral_norm": math.sqrt(largest),
        "stable_rank": total / largest,
    }


def _largest_eigenvalue(blocks: Callable[[], Iterator[Float64]], cols: int, *, steps: int) -> float:
    """Largest eigenvalue of W'W by Lanczos steps with full orthogonalisation.

    Products are einsum's, whose order of summation is fixed, not those of a threaded library.
    """
    start = np.random.Generator(np.random.PCG64(0)).standard_normal(cols)
    basis = np.empty((0, cols))
    vector = start / math.sqrt((start * start).sum())
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        basis = np.vstack([basis, vector])
        image = np.zeros(cols)
        for block in blocks():
            image += np.einsum("ij,i->j", block, np.einsum("ij,j->i", block, vector))
        diagonal.append(float((image * vector).sum()))
        for _ in range(2):  # once more removes what rounding left
            image -= np.einsum("ij,i->j", basis, np.einsum("ij,j->i", basis, image))
        residual = math.sqrt((image * image).sum())
        tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        values, vectors = np.linalg.eigh(tridiagonal)
        largest = float(values[-1])
        if residual * abs(vectors[-1, -1]) <= TOLERANCE * largest or len(basis) >= steps:
            return largest
        beside.append(residual)
        vector = image / residual
