"""Measures one unit of work, some neurons of a layer, and adds units up to a layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa.checkpoint import Checkpoint
from neuromfa.dimension import DimensionSummary
from neuromfa.errors import BadInputError, UsageError
from neuromfa.groups import Measured
from neuromfa.multifractal import Float64, Int64, PartitionSums, moments
from neuromfa.network import Layer, Map
from neuromfa.protocol import Protocol
from neuromfa.units import Unit
from neuromfa_kernels import (
    TOO_FEW_EDGES,
    NeighbourCounts,
    TileSums,
    count_neighbours,
    fractal_dimension,
    partition_function,
    radius_table,
)

ZERO, NONFINITE = 2, 3
BLOCK_ROWS = 1024
"""Rows looked through at a time for a weight that is not finite."""
EVERY_FACTOR_IS_ONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class UnitSums:
    """Answer of one unit: small, whatever the number of edges.

    Attributes
    ----------
    tiles : TileSums
        Partition functions of each tile of 1,024 neurons.
    neurons, in_range : int
        Neurons, and their edges with 1 < d <= cutoff.
    dropped : int64 array, shape (4,)
        Weights with d <= 1, with d > cutoff, zero, and not finite.
    dimension : float64 array, shape (neurons,)
        Neuron fractal dimensions, NaN where undefined.
    too_few_edges : int
        How many are undefined for want of edges.
    """

    tiles: TileSums
    neurons: int
    in_range: int
    dropped: Int64
    dimension: Float64
    too_few_edges: int


def measure(
    checkpoint: Checkpoint,
    layer: Layer,
    unit: Unit,
    protocol: Protocol,
    *,
    factors: Mapping[str, float] = EVERY_FACTOR_IS_ONE,
) -> UnitSums:
    """Count the neighbours of a unit's neurons and sum them into partition functions.

    Reads the unit's part of every map of the layer, one after another. What is in memory besides
    mapped pages is the counts of the unit's neurons and the sums of its tiles. `factors`, by
    tensor, multiply the weights before their distances are taken; weights times 0 are zeros.
    """
    counts = count(checkpoint, layer, unit, protocol, factors=factors)
    return sum_up(counts, protocol)


def no_counts(neurons: int, protocol: Protocol) -> NeighbourCounts:
    """Counts of neurons that have no edge yet."""
    return NeighbourCounts(
        np.zeros((neurons, protocol.n_radii), np.uint32).T,
        np.zeros((2, neurons), np.uint32),
        np.zeros(4, np.int64),
    )


def count(
    checkpoint: Checkpoint,
    layer: Layer,
    unit: Unit,
    protocol: Protocol,
    *,
    factors: Mapping[str, float] = EVERY_FACTOR_IS_ONE,
) -> NeighbourCounts:
    """Count the neighbours of a unit's neurons; see `measure`.

    Raises
    ------
    BadInputError
        If a weight is NaN or infinite, unless such weights are dropped.
    """
    neurons = unit.stop - unit.start
    counts = no_counts(neurons, protocol)
    for part, first, last in maps_of(layer, unit):
        factor = factors.get(part.tensor, 1.0)
        if factor == 0:
            counts.dropped[ZERO] += part.weights // part.neurons * (last - first)
            continue
        shift = part.first_neuron - unit.start
        mine = slice(first + shift, last + shift)
        into = NeighbourCounts(counts.counts[:, mine], counts.near[:, mine], counts.dropped)
        for weights in read_map(checkpoint, part, slice(first, last)):
            table = radius_table(weights.dtype, protocol.cutoff, factor)
            count_neighbours(weights, table, neuron_axis=part.neuron_axis, into=into, threads=1)
        if neurons == layer.neurons:  # nobody else reads these pages
            checkpoint.release(part.tensor)
    if counts.dropped[NONFINITE] and protocol.nonfinite == "error":
        raise nonfinite_weight(checkpoint, layer)
    return counts


def maps_of(layer: Layer, unit: Unit) -> Iterator[tuple[Map, int, int]]:
    """Maps that neurons of a unit have edges in, each with its first and last such neuron."""
    for part in layer.maps:
        first = max(part.first_neuron, unit.start) - part.first_neuron
        last = min(part.first_neuron + part.neurons, unit.stop) - part.first_neuron
        if first < last:
            yield part, first, last


def sum_up(counts: NeighbourCounts, protocol: Protocol) -> UnitSums:
    """Sum the counts of a unit's neurons into partition functions and fractal dimensions."""
    few = protocol.min_neighbours
    tiles = partition_function(counts.counts, moments(protocol), min_neighbours=few, threads=1)
    dimension = fractal_dimension(counts.counts, counts.near, min_neighbours=few, threads=1)
    return UnitSums(
        tiles,
        counts.counts.shape[1],
        int(counts.counts.sum(dtype=np.int64)),
        counts.dropped,
        dimension.values,
        int((dimension.reason == TOO_FEW_EDGES).sum()),
    )


def in_one(tiles: TileSums) -> TileSums:
    """Add all tiles of a layer, in order, so that its answer is as small as one tile's."""
    Z, Z_log = np.zeros((2, *tiles.Z.shape[1:]))
    for tile, tile_log in zip(tiles.Z, tiles.Z_log, strict=True):
        Z += tile
        Z_log += tile_log
    return TileSums(Z[np.newaxis], Z_log[np.newaxis], tiles.counted, tiles.observed)


def read_map(checkpoint: Checkpoint, part: Map, neurons: slice) -> Iterator[npt.NDArray[Any]]:
    """Weights of some neurons of a map, as matrices that need no copy."""
    first, last = neurons.start, neurons.stop
    if part.neuron_axis == 0:
        start = part.start
        yield checkpoint.read(part.tensor, start + first, start + last, cols=part.cols)
        return
    step = part.columns_per_neuron  # a kernel's positions, for a convolution
    matrix = checkpoint.read(part.tensor, part.start, part.stop, cols=part.cols)
    columns = matrix[:, first * step : last * step]
    for position in range(step):
        yield columns[:, position::step]


def add_up(units: Iterable[UnitSums], protocol: Protocol) -> tuple[Measured, Float64]:
    """Add the units of a layer, tile after tile in order.

    Returns
    -------
    Measured
        Sums of the layer.
    float64 array, shape (n_neurons,)
        Fractal dimension of each neuron.

    Raises
    ------
    UsageError
        If some Z_q leaves the range of float64.
    """
    dropped = np.zeros(4, np.int64)
    neurons = in_range = few = 0
    dimensions = []

    def tiles() -> Iterator[TileSums]:
        nonlocal dropped, neurons, in_range, few
        for unit in units:
            dropped = dropped + unit.dropped
            neurons += unit.neurons
            in_range += unit.in_range
            few += unit.too_few_edges
            dimensions.append(unit.dimension)
            yield unit.tiles

    sums = add_tiles(tiles(), protocol)
    below, above, zeros, nonfinite = map(int, dropped)
    sums = replace(
        sums,
        neurons=neurons,
        edges=in_range + below + above,
        edges_below=below,
        edges_above=above,
        zeros=zeros,
        nonfinite=nonfinite,
    )
    values = np.concatenate(dimensions)
    return Measured(sums, DimensionSummary.of(values, few)), values


def add_tiles(units: Iterable[TileSums], protocol: Protocol) -> PartitionSums:
    """Add the partition functions of a layer's units, tile after tile in order.

    Raises
    ------
    UsageError
        If some Z_q leaves the range of float64.
    """
    q = moments(protocol)
    Z, Z_log = np.zeros((2, len(q), protocol.n_radii))
    observed = np.zeros(protocol.n_radii, np.int64)
    counted = 0
    for unit in units:
        for tile, tile_log in zip(unit.Z, unit.Z_log, strict=True):
            Z += tile
            Z_log += tile_log
        observed += unit.observed
        counted += unit.counted
    if counted and not (np.isfinite(Z_log).all() and np.isfinite(Z).all() and (Z > 0).all()):
        raise UsageError(f"q {q[0]:g} to {q[-1]:g}: Z_q leaves the range of float64; use smaller q")
    return PartitionSums(q, Z, Z_log, observed, counted=counted)


def nonfinite_weight(checkpoint: Checkpoint, layer: Layer) -> BadInputError:
    """Look up the first NaN or infinite weight of a layer, for a message that says where it is."""
    found = find_nonfinite(checkpoint, layer, {})
    assert found, f"layer {layer.name}: counted a weight that is not finite, found none"
    return found


def find_nonfinite(
    checkpoint: Checkpoint, layer: Layer, starts: Mapping[str, Sequence[int]]
) -> BadInputError | None:
    """Look up the first such weight; `starts` say where a tensor lies in the one it is part of."""
    for part in layer.maps:
        ref = checkpoint.tensors[part.tensor]
        for start in range(part.start, part.stop, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, part.stop)
            weights = checkpoint.read(part.tensor, start, stop, cols=part.cols)
            bad = ~np.isfinite(weights)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                flat = (start + int(row)) * part.cols + int(column)
                start_of = starts.get(part.tensor, (0,) * len(ref.shape))
                at = np.unravel_index(flat, ref.shape)
                index = [int(i) + s for i, s in zip(at, start_of, strict=True)]
                return BadInputError(
                    f"{ref.file or checkpoint.source}: tensor {part.tensor} is "
                    f"{weights[row, column]} at {index}; "
                    "analyse without such weights: --nonfinite drop"
                )
    return None
