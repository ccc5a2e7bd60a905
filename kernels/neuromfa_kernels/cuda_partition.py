"""Partition functions on a GPU: the CPU's bits, except for neurons beyond the tables.

The launcher of `partition.cu`. Which threads add what is chosen here by size; it changes no bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import TileSums
from neuromfa_kernels.powers import CHUNK, COLUMNS, TABLE_SIZE, power_table, spacing
from neuromfa_kernels.radius import TILE

if TYPE_CHECKING:
    from neuromfa_kernels.cuda_driver import Driver

SOURCE = "partition.cu"
THREADS = 128
MOMENTS = 8
"""Moments of a thread of `sum_general`."""
WORKING_MEMORY = 1 << 30
"""Bytes of N_i(r) that are on the device at a time, if a tile needs no more."""
RESIDENT_THREADS = 256
"""Threads of the wide shape that a multiprocessor holds."""
_PLAIN = {"TILE": TILE, "THREADS": THREADS, "COLUMNS": COLUMNS, "MOMENTS": MOMENTS}
WIDE: Mapping[str, int] = {**_PLAIN, "ROWS": 8, "WIDTH": 64, "BLOCK": 128}
NARROW: Mapping[str, int] = {**_PLAIN, "ROWS": 2, "WIDTH": 32, "BLOCK": 256}
"""Rows of sums of a thread in `sum_factorised`: few instructions, or many threads."""
VARIANTS = ((SOURCE, WIDE), (SOURCE, NARROW))
"""Everything that is ever compiled."""

_tables: dict[tuple[str, float, float], Any] = {}
MOST_TABLES = 16
"""Tables that are kept. None is ever dropped, for a stream that uses it may be behind."""


class _Batch:
    """Some tiles: their N_i(r), their N_i(T), and where their sums go."""

    def __init__(self, driver: Driver, counts: Any, tiles: slice, sums: TileSums) -> None:
        self.driver = driver
        self.counts = counts[:, tiles.start * TILE : tiles.stop * TILE]
        self.n_radii, self.n = (int(size) for size in self.counts.shape)
        self.within = driver.empty((self.n, self.n_radii), np.uint32)
        self.total = driver.empty(self.n, np.uint32)
        self.Z, self.Z_log = sums.Z[tiles], sums.Z_log[tiles]

    @property
    def elements(self) -> int:
        """Pairs of a tile and a radius."""
        return -(-self.n // TILE) * self.n_radii

    def launch(
        self, name: str, args: tuple[Any, ...], *, grid: Any, block: int, shape: Mapping[str, int]
    ) -> None:
        kernel = self.driver.kernel(SOURCE, name, defines=shape)
        self.driver.launch(kernel, args, grid=grid, block=block)


def partition_function(
    counts: Any, q: npt.NDArray[np.float64], min_neighbours: int, driver: Driver
) -> TileSums:
    """Sum p^q and p^q ln p over the counted neurons of each tile.

    Parameters
    ----------
    counts : uint32 device array, shape (n_radii, n_neurons)
        With any strides; adjacent neurons are fastest. Neurons without edges add nothing: layers
        that are filled up to whole tiles can be summed in one call.
    q : float64 array, shape (n_q,)
        Moments, finite and strictly increasing; on the host.
    min_neighbours : int
        A neuron is counted if it has more than this many edges.
    driver : Driver
        The GPU on which `counts` lie.

    Returns
    -------
    TileSums
        Device arrays; `counted` is one of shape ().

    References
    ----------
    definitions, section 3; NeuroMFA (ICLR 2025, arXiv:2402.09099).
    """
    n_radii, n = counts.shape
    n_tiles = -(-n // TILE)
    Z, Z_log = (driver.empty((n_tiles, len(q), n_radii), np.float64) for _ in range(2))
    in_all = driver.zeros((), np.int64)
    sums = TileSums(Z, Z_log, in_all, driver.zeros(n_radii, np.int64))
    counted = driver.zeros(n_tiles, np.int64)
    h = spacing(q)
    at_once = max(1, WORKING_MEMORY // (4 * n_radii * TILE))
    for first in range(0, n_tiles, at_once):
        tiles = slice(first, min(first + at_once, n_tiles))
        batch = _Batch(driver, counts, tiles, sums)
        _cumulate(batch, min_neighbours, (sums.observed, counted[tiles], in_all))
        if h is None:
            _sum_general(batch, q, counted[tiles])
        else:
            for start in range(0, len(q), CHUNK):
                _sum_factorised(batch, q, (h, start), counted[tiles])
    return sums


def _cumulate(batch: _Batch, min_neighbours: int, counters: tuple[Any, Any, Any]) -> None:
    by_radius, by_neuron = (np.int64(step // 4) for step in batch.counts.strides)
    few = np.uint64(min(min_neighbours, 1 << 62))
    sizes = (np.uint32(batch.n), np.uint32(batch.n_radii), few)
    args = (batch.counts, by_radius, by_neuron, *sizes, batch.within, batch.total, *counters)
    batch.launch("cumulate", args, grid=-(-batch.n // THREADS), block=THREADS, shape=WIDE)


def _sum_factorised(
    batch: _Batch, q: npt.NDArray[np.float64], place: tuple[float, int], counted: Any
) -> None:
    """Moments start to start + CHUNK, which have a table of their own."""
    h, start = place
    q_0 = float(q[start])
    n_q = min(CHUNK, len(q) - start)
    powers = _table(batch.driver, h, q_0)
    size = np.uint32(TABLE_SIZE)
    inverse = batch.driver.empty((batch.n, 4), np.float64)
    args: tuple[Any, ...] = (batch.total, np.uint32(batch.n), powers, size, inverse)
    batch.launch("invert", args, grid=-(-batch.n // THREADS), block=THREADS, shape=WIDE)
    rows = -(-n_q // COLUMNS)
    full = 2 * batch.elements >= RESIDENT_THREADS * batch.driver.multiprocessors
    shape = WIDE if full and 2 * rows > WIDE["ROWS"] else NARROW
    zero = next((k for k in range(len(q)) if q[k] == 0), -1)
    sizes = (np.uint32(k) for k in (batch.n, batch.n_radii, start, n_q, len(q)))
    args = (batch.within, batch.total, counted, powers, size, inverse, np.float64(h))
    args += (np.float64(q_0), *sizes, np.int64(zero), batch.Z, batch.Z_log)
    grid = -(-batch.elements // shape["WIDTH"])
    block = shape["WIDTH"] * 2 * -(-rows // shape["ROWS"])  # for Z and for Z_log
    batch.launch("sum_factorised", args, grid=grid, block=block, shape=shape)


def _sum_general(batch: _Batch, q: npt.NDArray[np.float64], counted: Any) -> None:
    moments = batch.driver.from_host(q)
    sizes = (np.uint32(k) for k in (batch.n, batch.n_radii, len(q)))
    args = (batch.within, batch.total, counted, moments, *sizes, batch.Z, batch.Z_log)
    grid = (-(-batch.elements // THREADS), -(-len(q) // MOMENTS))
    batch.launch("sum_general", args, grid=grid, block=THREADS, shape=WIDE)


def _table(driver: Driver, h: float, q_0: float) -> Any:
    """Table of powers on a device; of full size, since the largest count is not known here."""
    key = (driver.name, h, q_0)
    if key in _tables:
        return _tables[key]
    table = driver.from_host(power_table(h, q_0, TABLE_SIZE))
    if len(_tables) < MOST_TABLES:
        driver.to_host(table[:1])  # other streams may use it: be sure that it has arrived
        _tables[key] = table
    return table
