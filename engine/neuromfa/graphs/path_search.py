"""Finds the shortest paths from the neurons of a layer along a chain of layers, and counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import ResourceError
from neuromfa.graphs.chain import outputs
from neuromfa.groups import Measured
from neuromfa.measure import UnitSums, add_up, nonfinite_weight
from neuromfa.multifractal import Float64, Int64, moments
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

    def groups(self, path: tuple[Layer, ...], neurons: Sequence[Int64]) -> list[Measured]:
        """Sum groups of neurons of the first layer of a path, each tile after tile.

        Parameters
        ----------
        path : tuple of Layer
            From `chain`.
        neurons : sequence of int64 array
            Those of each group.

        Raises
        ------
        ResourceError
            If memory does not suffice.
        """
        start = path[0]
        # ways to the units of two layers, weights and distances of a block of edges
        widest = max(outputs(part) for layer in path for part in layer.maps)
        depth = max(layer.neurons for layer in path)
        ways, edges = 24 * TILE * widest, 32 * depth
        if (targets := min(MOST_TARGETS, (self.memory - ways) // edges)) < 1:
            raise ResourceError(
                f"{self.checkpoint.source}: paths from {TILE:,} neurons of {start.name} take "
                f"{ways + edges:,} bytes and memory is {self.memory:,}; raise --memory"
            )
        found = []
        for group in neurons:
            tiles = (group[k : k + TILE] for k in range(0, len(group), TILE))
            sums = (self._sum(self.counts(path, tile, int(targets))) for tile in tiles)
            found.append(add_up(sums, self.protocol)[0])
        return found

    def counts(self, path: tuple[Layer, ...], neurons: Int64, targets: int) -> NeighbourCounts:
        """Count the units at each radius from some neurons, over all layers of a path.

        Parameters
        ----------
        path : tuple of Layer
            From `chain`.
        neurons : int64 array, shape (n,)
            Of the first layer, increasing.
        targets : int
            Outputs whose edges are looked at together.

        Raises
        ------
        BadInputError
            If a weight on the way is NaN or infinite, unless such weights are dropped.
        """
        start, *others = path
        counts = self._first_hop(start, neurons)
        parts = [self._joined(start, part, neurons, targets) for part in start.maps if others]
        for layer in others:
            ways = reduce(np.minimum, parts)  # gate and up lead to the same units
            parts = []
            for part in layer.maps:
                found = np.empty((len(neurons), outputs(part)))
                for at, lengths in self._lengths(layer, part, slice(None), targets):
                    found[:, at : at + lengths.shape[1]] = extend_paths(
                        ways, lengths, cutoff=self.protocol.cutoff, threads=self.threads
                    )
                count_paths(
                    found, cutoff=self.protocol.cutoff, into=counts.counts, threads=self.threads
                )
                parts.append(found)
        return counts

    def _first_hop(self, layer: Layer, neurons: Int64) -> NeighbourCounts:
        """Count edges as definitions, section 2 do."""
        counts = self._nothing(len(neurons))
        for part in layer.maps:
            mine = (neurons >= part.first_neuron) & (neurons < part.first_neuron + part.neurons)
            if not mine.any():
                continue
            chosen = _span(neurons[mine] - part.first_neuron)
            weights = self.checkpoint.read(part.tensor, part.start, part.stop, cols=part.cols)
            step = part.columns_per_neuron
            into = self._nothing(int(mine.sum()))
            for position in range(step):  # a kernel's positions, for a convolution
                piece = weights[:, position::step] if part.neuron_axis else weights
                count_neighbours(
                    piece[:, chosen] if part.neuron_axis else piece[chosen],
                    radius_table(weights.dtype, self.protocol.cutoff),
                    neuron_axis=part.neuron_axis,
                    into=into,
                    threads=self.threads,
                )
            counts.counts[:, mine] += into.counts
            counts.near[:, mine] += into.near
            counts.dropped[:] += into.dropped
        if counts.dropped[NONFINITE] and self.protocol.nonfinite == "error":
            raise nonfinite_weight(self.checkpoint, layer)
        return counts

    def _nothing(self, neurons: int) -> NeighbourCounts:
        counts = np.zeros((neurons, self.protocol.n_radii), np.uint32).T
        return NeighbourCounts(counts, np.zeros((2, neurons), np.uint32), np.zeros(4, np.int64))

    def _joined(self, layer: Layer, part: Map, neurons: Int64, targets: int) -> Float64:
        """Distances [neurons, outputs] of all edges of some neurons."""
        found = np.empty((len(neurons), outputs(part)))
        for at, lengths in self._lengths(layer, part, _span(neurons), targets):
            found[:, at : at + lengths.shape[1]] = lengths
        return found

    def _lengths(
        self, layer: Layer, part: Map, neurons: slice | Int64, targets: int
    ) -> Iterator[tuple[int, Float64]]:
        """First output and distances [neurons, outputs] of blocks; infinite out of range."""
        for at in range(0, outputs(part), targets):
            stop = min(at + targets, outputs(part))
            if part.neuron_axis:
                rows = self.checkpoint.read(
                    part.tensor, part.start + at, part.start + stop, cols=part.cols
                )
                weights = rows[:, neurons].T
            else:
                rows = self.checkpoint.read(part.tensor, part.start, part.stop, cols=part.cols)
                weights = rows[:, at:stop][neurons]
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


def _span(neurons: Int64) -> slice | Int64:
    """Neighbouring neurons as a slice, which takes no copy of their weights."""
    first, last = int(neurons[0]), int(neurons[-1])
    return slice(first, last + 1) if last - first + 1 == len(neurons) else neurons
