"""Finds the shortest paths from the neurons of a layer through others, and counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import ResourceError
from neuromfa.graphs.chain import Stage, outputs, unit_slices
from neuromfa.graphs.products import Products
from neuromfa.groups import Measured
from neuromfa.measure import UnitSums, add_up, nonfinite_weight
from neuromfa.multifractal import Int64, moments
from neuromfa.network import Layer, Map
from neuromfa.protocol import Protocol
from neuromfa.scheduler import run
from neuromfa_kernels import (
    TILE,
    TOO_FEW_EDGES,
    NeighbourCounts,
    count_neighbours,
    fractal_dimension,
    partition_function,
    radius_table,
)

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
    products : sequence of Products
        Where paths are found: tiles of neurons are shared out among these.
    threads, memory, device_memory : int
        Change no bit; `device_memory` is that of each place with memory of its own, else 0.
    """

    checkpoint: Checkpoint
    protocol: Protocol
    products: Sequence[Products]
    threads: int
    memory: int
    device_memory: int = 0

    def groups(self, path: Sequence[Stage], neurons: Sequence[Int64]) -> list[Measured]:
        """Sum groups of neurons of the first layer of a path, each tile after tile.

        Parameters
        ----------
        path : sequence of Stage
            From `stages`.
        neurons : sequence of int64 array
            Those of each group.

        Raises
        ------
        ResourceError
            If memory does not suffice.
        """
        tile = min(TILE, max(map(len, neurons)))
        targets = self._targets(path, tile)
        places: SimpleQueue[Products] = SimpleQueue()
        for place in self.products:
            places.put(place)

        def work(tile: Int64) -> UnitSums:
            place = places.get()
            try:
                return self._sum(self.counts(path, tile, targets, place))
            finally:
                places.put(place)

        found = []
        with ThreadPoolExecutor(len(self.products)) as executor:
            for group in neurons:
                tiles = (group[k : k + TILE] for k in range(0, len(group), TILE))
                sums = run(tiles, work, executor, in_flight=2 * len(self.products))
                found.append(add_up((answer for _, answer in sums), self.protocol)[0])
        return found

    def _targets(self, path: Sequence[Stage], tile: int) -> int:
        """Outputs whose edges are looked at together, by so many neurons."""
        widest = max(outputs(part) for stage in path for part in stage.layer.maps)
        depth = max(stage.layer.neurons for stage in path)
        # ways to the units of a layer and from there on, for paths of each number of edges
        kinds = 1 + max(stage.most - stage.least for stage in path)
        ways, edges = 16 * tile * widest * (1 + kinds), 32 * depth
        for name, memory in (("memory", self.memory), ("device memory", self.device_memory)):
            if memory and (memory - ways) // edges < 1:
                raise ResourceError(
                    f"{self.checkpoint.source}: paths from {tile:,} neurons of "
                    f"{path[0].layer.name} take {ways + edges:,} bytes and {name} is {memory:,}; "
                    f"raise --{name.replace(' ', '-')}"
                )
        room = min(memory for memory in (self.memory, self.device_memory) if memory)
        return int(min(MOST_TARGETS, (room - ways) // edges))

    def counts(
        self, path: Sequence[Stage], neurons: Int64, targets: int, place: Products
    ) -> NeighbourCounts:
        """Count the units at each radius from some neurons, over all layers of a path.

        Parameters
        ----------
        path : sequence of Stage
            From `stages`.
        neurons : int64 array, shape (n,)
            Of the first layer, increasing.
        targets : int
            Outputs whose edges are looked at together.
        place : Products
            Where paths are found.

        Raises
        ------
        BadInputError
            If a weight on the way is NaN or infinite, unless such weights are dropped.
        """
        start, *others = path
        counts = self._first_hop(start.layer, neurons)
        ways: dict[tuple[str, int], Any] = {}  # by units, and the most edges of a path to them
        hops = max(stage.most for stage in path)
        if others:
            for part in start.layer.maps:
                edges = place.room(len(neurons), outputs(part))
                for at, weights in self._weights(part, _span(neurons), targets):
                    place.measure(weights, edges[:, at : at + weights.shape[1]])
                upto = range(1, hops)
                _lead_on(ways, start, part, place=place, found=edges, upto=upto)
        for k, stage in enumerate(others, 1):
            for part in stage.layer.maps:
                for most in range(stage.least, stage.most + 1):
                    if most < stage.most and not stage.writes:
                        continue  # only paths of any length up to the longest are counted
                    found = place.room(len(neurons), outputs(part))
                    for at, weights in self._weights(part, slice(None), targets):
                        place.extend(
                            ways[stage.reads, most - 1],
                            place.measure(weights),
                            found[:, at : at + weights.shape[1]],
                        )
                    last = most == stage.most
                    upto = range(most, hops) if last else range(most, most + 1)
                    _lead_on(ways, stage, part, place=place, found=found, upto=upto)
                    if last:
                        place.add_counts(found, counts.counts)
            if not place.all_finite() and self.protocol.nonfinite == "error":
                raise nonfinite_weight(self.checkpoint, stage.layer)
            read = {later.reads for later in path[k + 1 :]}
            ways = {key: found for key, found in ways.items() if key[0] in read}
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

    def _weights(
        self, part: Map, neurons: slice | Int64, targets: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """First output and weights [neurons, outputs] of blocks, as stored."""
        for at in range(0, outputs(part), targets):
            stop = min(at + targets, outputs(part))
            if part.neuron_axis:
                rows = self.checkpoint.read(
                    part.tensor, part.start + at, part.start + stop, cols=part.cols
                )
                yield at, rows[:, neurons].T
            else:
                rows = self.checkpoint.read(part.tensor, part.start, part.stop, cols=part.cols)
                yield at, rows[:, at:stop][neurons]

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


def _lead_on(
    ways: dict[tuple[str, int], Any],
    stage: Stage,
    part: Map,
    *,
    place: Products,
    found: Any,
    upto: range,
) -> None:
    """Remember ways to the units that outputs are, for paths of each number of edges."""
    if not stage.writes:
        return
    own = [found[:, units] for units in unit_slices(part)]
    nearest: dict[int, Any] = {}  # paths of several numbers of edges may have the same ways
    for most in upto:
        before = ways.get((stage.writes, most))
        if id(before) not in nearest:
            nearest[id(before)] = place.nearest(own if before is None else [before, *own])
        ways[stage.writes, most] = nearest[id(before)]


def _span(neurons: Int64) -> slice | Int64:
    """Neighbouring neurons as a slice, which takes no copy of their weights."""
    first, last = int(neurons[0]), int(neurons[-1])
    return slice(first, last + 1) if last - first + 1 == len(neurons) else neurons
