"""Other ways to count the neighbours of bfloat16 columns on a GPU, with exact boundaries.

Each takes the same device tensor and the same table as `count_neighbours` and must give the same
integers. cub::DeviceHistogram has no form for columns; it is what stands behind cupy.bincount.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from neuromfa_kernels import RadiusTable
from neuromfa_kernels.radius import FIRST_RADIUS

CODES = 1 << 15
"""Codes of abs(w) of a 16-bit type."""

Way = Callable[[torch.Tensor], torch.Tensor]


def _radii(table: RadiusTable, bins: torch.Tensor) -> torch.Tensor:
    return bins[FIRST_RADIUS : FIRST_RADIUS + table.n_radii]


def _to_bins(table: RadiusTable, device: torch.device) -> Way:
    """Bin of each weight, int32, by bisection of the boundaries."""
    bounds = torch.from_numpy(table.bounds[::-1].astype(np.int32)).to(device)

    def bins(weights: torch.Tensor) -> torch.Tensor:
        codes = weights.view(torch.int16).to(torch.int32) & (CODES - 1)
        return table.zero - torch.bucketize(codes, bounds, right=True, out_int32=True)

    return bins


def scatter_add(table: RadiusTable, device: torch.device) -> Way:
    """torch.bucketize, then scatter_add_ into int32."""
    to_bins = _to_bins(table, device)

    def count(weights: torch.Tensor) -> torch.Tensor:
        bins = to_bins(weights)
        counts = torch.zeros(
            (table.n_bins, weights.shape[1]), dtype=torch.int32, device=weights.device
        )
        one = torch.ones((), dtype=torch.int32, device=weights.device)
        counts.scatter_add_(0, bins.to(torch.int64), one.expand(bins.shape))
        return _radii(table, counts)

    return count


def compiled_scatter_add(table: RadiusTable, device: torch.device) -> Way:
    """The same through torch.compile."""
    compiled: Way = torch.compile(scatter_add(table, device), dynamic=False)
    return compiled


def bincount(table: RadiusTable, device: torch.device) -> Way:
    """cupy.bincount of (bin, column), which uses cub."""
    import cupy

    to_bins = _to_bins(table, device)

    def count(weights: torch.Tensor) -> torch.Tensor:
        n = weights.shape[1]
        keys = to_bins(weights) * n + torch.arange(n, dtype=torch.int32, device=weights.device)
        counts = cupy.bincount(cupy.from_dlpack(keys.reshape(-1)), minlength=table.n_bins * n)
        return _radii(table, torch.from_dlpack(counts).reshape(table.n_bins, n))

    return count


def triton_histogram(table: RadiusTable, device: torch.device) -> Way:
    """Triton's tl.histogram over blocks of 32 columns; bins from a table of all codes."""
    from triton_histogram import BINS, COLUMNS, block_histogram

    if table.n_bins > BINS:
        raise ValueError(f"{table.n_bins} bins: Triton's blocks hold {BINS}")
    codes = np.arange(CODES, dtype=np.uint64)
    of_code = torch.from_numpy(table.bins(codes).astype(np.int32)).to(device)
    rows_at_once, rows_of_block = 64, 1024

    def count(weights: torch.Tensor) -> torch.Tensor:
        rows, n = weights.shape
        panels = -(-n // COLUMNS)
        counts = torch.zeros((panels, COLUMNS, BINS), dtype=torch.int32, device=weights.device)
        grid = (panels, -(-rows // rows_of_block))
        codes = weights.view(torch.int16)
        block_histogram[grid](
            codes, of_code, counts, rows, n, ROWS=rows_of_block, AT_ONCE=rows_at_once
        )
        return _radii(table, counts.reshape(panels * COLUMNS, BINS)[:n].T)

    return count


PEERS: dict[str, Callable[[RadiusTable, torch.device], Way]] = {
    "torch bucketize, scatter_add": scatter_add,
    "torch.compile of bucketize, scatter_add": compiled_scatter_add,
    "cupy.bincount": bincount,
    "Triton, tl.histogram": triton_histogram,
}
