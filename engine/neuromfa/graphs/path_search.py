"""Finds the shortest paths from the neurons of a layer along a chain of layers, and counts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import ResourceError
from neuromfa.graphs.chain import outputs
from neuromfa.groups import Measured
from neuromfa.measure import UnitSums, add_up, nonfinite_weight
from neuromfa.multifractal import Float64, moments
from neuromfa.network import Layer, Map
from neuromfa.protocol import Protocol
from neuromfa_kernels import (
    TILE,
    TOO_FEW_EDGES,
    NeighbourCounts,
    count_neighbours,
    fractal_dimension,
    partition_function,
    radius_table,
)
from neuromfa_kernels.hops import count_paths, extend_paths

NONFINITE = 3
MOST_TARGETS = 1024
"""Targets whose edges are looked at together, if memory allows."""


@dataclass(frozen=True, slots=True)
class PathSearch:
    """Finds shortest paths from the neurons of one layer after another (definitions, section 7).

    Attributes
    ----------
    checkpoint : Checkpoint
        Open.
    protocol : Protocol
        Cutoff, moments, and what to do with weights that are not finite.
    threads, memory : int
        Change no bit.
    """

    checkpoint: Checkpoint
    protocol: Protocol
    threads: int
    memory: int

    def layer(self, path: tuple[Layer, ...]) -> Measured:
        """Sum the neurons of the first layer of a path, tile after tile.

        Raises
        ------
        ResourceError
            If memory does not suffice.
        """
        start = path[0]
        widest = max(outputs(part) for layer in path for part in layer.maps)
        # ways to the units of two layers, weights and distances of a block of edges
        room = self.memory - 16 * TILE * widest
        depth = max(layer.neurons for layer in path)
        targets = min(MOST_TARGETS, room // (32 * depth))
        if targets < 1:
            raise ResourceError(
                f"{self.checkpoint.source}: paths from {TILE:,} neurons of {start.name} take "
                f"{16 * TILE * widest + 32 * depth:,} bytes and memory is {self.memory:,}; raise "
                "--memory"
            )
        tiles = range(0, start.neurons, TILE)
        counted = (self.counts(path, first, int(targets)) for first in tiles)
        return add_up(map(self._sum, counted), self.protocol)[0]

    def counts(self, path: tuple[Layer, ...], first: int, targets: int) -> NeighbourCounts:
        """Count the units at each radius from a tile of neurons, over all layers of a path.

        Parameters
        ----------
        path : tuple of Layer
            From `chain`.
        first : int
            First neuron of the tile.
        targets : int
            Outputs whose edges are looked at together.

        Raises
        ------
        BadInputError
            If a weight on the way is NaN or infinite, unless such weights are dropped.
        """
        start, cutoff = path[0], self.protocol.cutoff
        last = min(first + TILE, start.neurons)
        counts = NeighbourCounts(
            np.zeros((last - first, self.protocol.n_radii), np.uint32).T,
            np.zeros((2, last - first), np.uint32),
            np.zeros(4, np.int64),
        )
        ways: Float64 | None = None
        for part in start.maps:
            own = _own(part, first, last)
            if own is None:
                continue
            mine = slice(own[0] + part.first_neuron - first, own[1] + part.first_neuron - first)
            into = NeighbourCounts(counts.counts[:, mine], counts.near[:, mine], counts.dropped)
            self._count(part, own, into)
            if len(path) > 1:
                blocks = [d for _, d in self._lengths(start, part, own, targets)]
                ways = _shortest(ways, np.concatenate(blocks, axis=1))
        if counts.dropped[NONFINITE] and self.protocol.nonfinite == "error":
            raise nonfinite_weight(self.checkpoint, start)
        for hop, layer in enumerate(path[1:], 2):
            further: Float64 | None = None
            assert ways is not None
            for part in layer.maps:
                found = np.empty((last - first, outputs(part)))
                for at, lengths in self._lengths(layer, part, (0, layer.neurons), targets):
                    found[:, at : at + lengths.shape[1]] = extend_paths(
                        ways, lengths, cutoff=cutoff, threads=self.threads
                    )
                count_paths(found, cutoff=cutoff, into=counts.counts, threads=self.threads)
                if hop < len(path):
                    further = _shortest(further, found)
            ways = further
        return counts

    def _count(self, part: Map, own: tuple[int, int], into: NeighbourCounts) -> None:
        weights = self.checkpoint.read(part.tensor, part.start, part.stop, cols=part.cols)
        if part.neuron_axis:
            step = part.columns_per_neuron
            weights = weights[:, own[0] * step : own[1] * step]
            pieces = [weights[:, position::step] for position in range(step)]
        else:
            pieces = [weights[own[0] : own[1]]]
        table = radius_table(weights.dtype, self.protocol.cutoff)
        for piece in pieces:
            count_neighbours(
                piece, table, neuron_axis=part.neuron_axis, into=into, threads=self.threads
            )

    def _lengths(
        self, layer: Layer, part: Map, own: tuple[int, int], targets: int
    ) -> Iterator[tuple[int, Float64]]:
        """First output and distances [neurons, outputs] of blocks; infinite out of range."""
        weights: npt.NDArray[Any]
        for at in range(0, outputs(part), targets):
            stop = min(at + targets, outputs(part))
            if part.neuron_axis:
                rows = self.checkpoint.read(
                    part.tensor, part.start + at, part.start + stop, cols=part.cols
                )
                weights = rows[:, own[0] : own[1]].T
            else:
                rows = self.checkpoint.read(
                    part.tensor, part.start + own[0], part.start + own[1], cols=part.cols
                )
                weights = rows[:, at:stop]
            wide = np.ascontiguousarray(weights, np.float64)
            if self.protocol.nonfinite == "error" and not np.isfinite(wide).all():
                raise nonfinite_weight(self.checkpoint, layer)
            with np.errstate(divide="ignore", over="ignore"):
                lengths = 1.0 / np.abs(wide)
            lengths[~((lengths > 1) & (lengths <= self.protocol.cutoff))] = np.inf
            yield at, lengths

    def _sum(self, counts: NeighbourCounts) -> UnitSums:
        few = self.protocol.min_neighbours
        tiles = partition_function(
            counts.counts, moments(self.protocol), min_neighbours=few, threads=self.threads
        )
        dimension = fractal_dimension(
            counts.counts, counts.near, min_neighbours=few, threads=self.threads
        )
        return UnitSums(
            tiles,
            counts.counts.shape[1],
            int(counts.counts.sum(dtype=np.int64)),
            counts.dropped,
            dimension.values,
            int((dimension.reason == TOO_FEW_EDGES).sum()),
        )


def _own(part: Map, first: int, last: int) -> tuple[int, int] | None:
    """Neurons of a map among those of a tile, numbered in the map."""
    low = max(part.first_neuron, first) - part.first_neuron
    high = min(part.first_neuron + part.neurons, last) - part.first_neuron
    return (low, high) if low < high else None


def _shortest(one: Float64 | None, other: Float64) -> Float64:
    """Outputs of several tensors that are one unit, such as gate and up: the shorter way."""
    return other if one is None else np.minimum(one, other)
