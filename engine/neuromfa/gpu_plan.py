"""How the layers of a network are laid on GPUs, and what memory that takes, from headers alone.

A unit is a layer, whose tensors pass through a ring of buffers row block by row block while their
counts add up. GPUs take units largest first, as they become free. All of these are resources:
they never change a bit of a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuromfa.errors import ResourceError
from neuromfa_kernels import TILE
from neuromfa_kernels.cuda_feed import SLOTS
from neuromfa_kernels.cuda_partition import WORKING_MEMORY

LANES = 2
"""Units at work on a GPU: while one is summed, the weights of the next arrive."""
LARGEST_CHUNK = 64 << 20
SMALLEST_CHUNK = 1 << 20
"""Below it a read or a copy costs more by its start than by its bytes."""


@dataclass(frozen=True, slots=True)
class LayerSize:
    """What the plan needs to know of a layer.

    Attributes
    ----------
    neurons : int
        Its neurons.
    weight_bytes : int
        Bytes of its weights as stored.
    row_bytes : int
        Bytes of the longest row that is read in one piece; 0 if all lie on a GPU already.
    """

    neurons: int
    weight_bytes: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """How a network passes through some GPUs.

    Attributes
    ----------
    pieces : tuple of (int, int, int)
        Layer and its first and last neuron (excluded): the units, in order.
    chunk_bytes : int
        Weights that are read, copied and counted at a time; 0 if none are to be copied.
    host_bytes : int
        Most private memory: page-locked rings and all answers.
    device_bytes : int
        Most memory of one GPU.
    """

    pieces: tuple[tuple[int, int, int], ...]
    chunk_bytes: int
    host_bytes: int
    device_bytes: int


def plan_gpus(
    layers: Sequence[LayerSize],
    *,
    n_radii: int,
    n_q: int,
    gpus: int,
    memory: int,
    device_memory: int,
) -> GpuPlan:
    """Lay layers on GPUs within two limits.

    Parameters
    ----------
    layers : sequence of LayerSize
        In the order of the network.
    n_radii, n_q : int
        Radii and moments: what a neuron and a tile need.
    gpus : int
        How many.
    memory : int
        Bytes of private memory on the host.
    device_memory : int
        Bytes on each GPU.

    Raises
    ------
    ResourceError
        If a limit is too small, with what would be enough.
    """
    tables = 16 * n_q * n_radii
    answers = sum(tables + 8 * layer.neurons for layer in layers)
    lanes = gpus * LANES
    longest = max((layer.row_bytes for layer in layers), default=1)
    least = max(SMALLEST_CHUNK, longest) if longest else 0
    if (room := (memory - answers) // (lanes * SLOTS)) < least:
        raise _too_little(memory, answers + lanes * SLOTS * least, gpus)
    chunk = max(least, min(room, LARGEST_CHUNK) // 4096 * 4096) if longest else 0
    most_tiles = _tiles_within(device_memory // LANES - SLOTS * chunk, n_radii, tables)
    if not most_tiles:
        need = LANES * (SLOTS * chunk + unit_bytes(1, n_radii, tables))
        raise ResourceError(
            f"device memory {device_memory:,} bytes: one tile of {TILE:,} neurons needs {need:,}; "
            "raise --device-memory or lower --cutoff"
        )
    pieces = []
    widest = 0
    for index, layer in enumerate(layers):
        tiles = -(-layer.neurons // TILE)
        parts = -(-tiles // most_tiles)
        if parts > 1:  # their tiles wait until they can be added in order
            answers += tiles * tables
        step = -(-tiles // max(1, parts))
        widest = max(widest, step)
        for start in range(0, layer.neurons, step * TILE):
            pieces.append((index, start, min(start + step * TILE, layer.neurons)))
    if (host := answers + lanes * SLOTS * chunk) > memory:
        raise _too_little(memory, host, gpus)
    device = LANES * (SLOTS * chunk + unit_bytes(widest, n_radii, tables))
    return GpuPlan(tuple(pieces), chunk, host, device)


def _too_little(memory: int, need: int, gpus: int) -> ResourceError:
    return ResourceError(
        f"memory {memory:,} bytes: page-locked buffers for {gpus} GPUs and the answers of all "
        f"layers take at least {need:,}; raise --memory"
    )


def unit_bytes(tiles: int, n_radii: int, tables: int) -> int:
    """Bytes on the device for a unit: counts, cumulative counts, sums, and little else."""
    counts = 4 * tiles * TILE * (n_radii + 2)
    cumulative = max(4 * TILE * n_radii, min(4 * tiles * TILE * n_radii, WORKING_MEMORY))
    return counts + cumulative + tiles * (tables + 64 * TILE)


def _tiles_within(room: int, n_radii: int, tables: int) -> int:
    """Most tiles of a unit that fits; `unit_bytes` grows with tiles."""
    low, high = 0, 1
    while unit_bytes(high, n_radii, tables) <= room:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if unit_bytes(middle, n_radii, tables) <= room:
            low = middle
        else:
            high = middle
    return low


def largest_first(weights: Sequence[int]) -> list[int]:
    """Order in which units are handed out: by falling bytes, equal ones in their own order."""
    return sorted(range(len(weights)), key=lambda k: -weights[k])


def lightest_first(weights: Sequence[int], gpus: Sequence[int | None], n: int) -> list[int]:
    """Give work that is tied to no GPU to the one that has least, the largest first.

    Parameters
    ----------
    weights : sequence of int
        Bytes of each piece of work.
    gpus : sequence of int or None
        Where each is tied to, as an index below `n`.
    n : int
        GPUs.

    Returns
    -------
    list of int
        The GPU of each.
    """
    loads = [0] * n
    for weight, gpu in zip(weights, gpus, strict=True):
        if gpu is not None:
            loads[gpu] += weight
    given = list(gpus)
    for k in largest_first(weights):
        if given[k] is None:
            given[k] = loads.index(min(loads))
            loads[loads.index(min(loads))] += weights[k]
    return [gpu for gpu in given if gpu is not None]
