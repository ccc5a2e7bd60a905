"""Items of work of the counting kernels: which kernel counts what, tile by tile.

An item is a tile of neurons and a range of their edges. Items add to the counts with integer
atomics, so neither their number nor their order can change a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import NeighbourCounts
from neuromfa_kernels.cuda_driver import Driver

ITEM = np.dtype(
    [
        *(("weights", "u8"), ("down", "i8"), ("across", "i8"), ("edges", "u4"), ("neurons", "u4")),
        *(("counts", "u8"), ("near", "u8"), ("dropped", "u8")),
        *(("counts_down", "i8"), ("counts_across", "i8")),
        *(("near_down", "i8"), ("near_across", "i8"), ("dropped_across", "i8")),
    ]
)
"""struct Item of weights.cuh."""
PART = np.dtype([(name, "i8") for name in ITEM.names or ()])
"""A matrix before it is cut into items: the same fields."""

STAGES = 3 * 32 * (512 + 16)
"""Shared memory for the pieces of rows, in neighbours_rows.cu."""
FEWEST_EDGES = 256
"""Of an item: it is not worth clearing and adding the counters for fewer."""
MOST_EDGES = 1 << 30
COUNTER_BYTES = 8
"""Bytes of weights that pass in the time of clearing and adding one counter."""


class Matrix(NamedTuple):
    """Where the weights of some edges and neurons lie; steps in bytes."""

    address: int
    edges: int
    neurons: int
    down: int
    across: int


class Way(NamedTuple):
    """A kernel, and the shape in which it is launched.

    Attributes
    ----------
    source, kernel : str
        File and name.
    itemsize : int
        Bytes of a weight.
    lane_neurons : int
        Neurons of a lane.
    threads, blocks : int
        Threads of a block, and blocks of a multiprocessor at most.
    staging : int
        Bytes of shared memory beside the counters.
    """

    source: str
    kernel: str
    itemsize: int
    lane_neurons: int
    threads: int
    blocks: int
    staging: int = 0


def matrix_of(weights: Any, neuron_axis: int, driver: Driver) -> Matrix:
    """Where an array [rows, cols] lies, as edges and neurons."""
    edges, neurons = weights.shape[1 - neuron_axis], weights.shape[neuron_axis]
    down, across = weights.strides[1 - neuron_axis], weights.strides[neuron_axis]
    size = weights.dtype.itemsize
    # the step along an axis of one element means nothing: take the one that suits best
    if neurons == 1 and abs(down) != size:
        across = size
    if edges == 1 and across != size:
        down = size
    return Matrix(driver.address(weights), edges, neurons, down, across)


def ways(
    matrix: Matrix, dtype: np.dtype[Any], *, arithmetic: bool
) -> Iterator[tuple[Way, int, Matrix]]:
    """Yield the kernels that count a matrix: way, first neuron, and the part of the matrix.

    `arithmetic` says that distances of this type need no table.
    """
    if not matrix.edges or not matrix.neurons:
        return
    size = dtype.itemsize
    kind = "codes8" if size == 1 else dtype.name
    aligned = (matrix.address | matrix.down | matrix.across) % size == 0
    if not aligned or not (arithmetic or size == 1) or size not in (matrix.down, matrix.across):
        yield Way("neighbours_any.cu", f"any_{size}", size, 1, 256, 4), 0, matrix
        return
    if matrix.across != size:
        yield Way("neighbours_rows.cu", f"rows_{kind}", size, 1, 256, 3, STAGES), 0, matrix
        return
    whole = matrix.neurons // 4 * 4 if (matrix.address | matrix.down) % (4 * size) == 0 else 0
    if whole:
        wide = Way("neighbours_columns.cu", f"columns_{kind}_x4", size, 4, 512, 2)
        yield wide, 0, matrix._replace(neurons=whole)
    if whole < matrix.neurons:
        rest = matrix._replace(
            address=matrix.address + whole * size, neurons=matrix.neurons - whole
        )
        yield Way("neighbours_columns.cu", f"columns_{kind}_x1", size, 1, 512, 2), whole, rest


def part_of(matrix: Matrix, out: NeighbourCounts, first: int, driver: Driver) -> tuple[int, ...]:
    """Describe a matrix and where its counts go, from neuron `first` on: the fields of `PART`."""
    counts, near, dropped = out
    steps = [step // 4 for step in (*counts.strides, *near.strides)]
    return (
        *(matrix.address, matrix.down, matrix.across, matrix.edges, matrix.neurons),
        driver.address(counts) + 4 * first * steps[1],
        driver.address(near) + 4 * first * steps[3],
        driver.address(dropped),
        *steps,
        dropped.strides[0] // 8,
    )


def _cuts(neuron_bytes: float, tiles: int, rows: int, blocks: int) -> int:
    """Into how many pieces to cut tiles, so that blocks end together and add up little.

    The time is that of the rounds in which `blocks` take all pieces, each of some bytes of weights
    and of the counters that are cleared and added.
    """
    pieces = np.arange(1, blocks + 1)
    rounds = -(-tiles * pieces // blocks)
    return int(pieces[np.argmin(rounds * (neuron_bytes / pieces + COUNTER_BYTES * rows))])


def items_of(
    described: list[tuple[int, ...]], way: Way, *, rows: int, blocks: int
) -> npt.NDArray[Any]:
    """Tiles of neurons, cut along the edges where that is faster; the largest first.

    `rows` are the counters of a neuron, `blocks` how many run at a time.
    """
    parts = np.array(described, PART)
    edges, neurons = parts["edges"], parts["neurons"]
    tile = 32 * way.lane_neurons
    tiles = -(-neurons // tile)
    n_tiles = int(tiles.sum())
    cuts = _cuts(way.itemsize * float(tiles @ edges) / n_tiles, n_tiles, rows, blocks)
    step = -(-edges // np.maximum(1, np.minimum(cuts, edges // FEWEST_EDGES)))
    step = np.minimum(-(-step // FEWEST_EDGES) * FEWEST_EDGES, MOST_EDGES)  # rows stay aligned
    pieces = -(-edges // step)
    n = tiles * pieces
    which = np.repeat(np.arange(len(parts)), n)
    own = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)
    neuron, edge = own // pieces[which] * tile, own % pieces[which] * step[which]
    left_edges = np.minimum(step[which], edges[which] - edge)
    left_neurons = np.minimum(tile, neurons[which] - neuron)
    order = np.argsort(-left_edges * left_neurons, kind="stable")
    which, neuron, edge = which[order], neuron[order], edge[order]
    every = {name: parts[name][which] for name in PART.names or ()}
    every["weights"] += neuron * every["across"] + edge * every["down"]
    every["edges"], every["neurons"] = left_edges[order], left_neurons[order]
    for name in ("counts", "near"):
        every[name] += 4 * neuron * every[f"{name}_across"]
    items = np.empty(len(which), ITEM)
    for name, values in every.items():
        items[name] = values
    return items
