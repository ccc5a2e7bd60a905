"""Measures units of work on a GPU: weights stream in, integers add up, small sums come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import ResourceError
from neuromfa.measure import (
    EVERY_FACTOR_IS_ONE,
    NONFINITE,
    ZERO,
    UnitSums,
    in_one,
    maps_of,
    nonfinite_weight,
)
from neuromfa.multifractal import moments
from neuromfa.network import Layer, Map
from neuromfa.protocol import Protocol
from neuromfa.units import Unit
from neuromfa_kernels import TOO_FEW_EDGES, NeighbourCounts, TileSums, radius_table
from neuromfa_kernels.cuda_counts import add_neighbours
from neuromfa_kernels.cuda_dimension import fractal_dimension
from neuromfa_kernels.cuda_driver import Driver
from neuromfa_kernels.cuda_feed import Feed, Fill
from neuromfa_kernels.cuda_partition import partition_function


class _Chunk(NamedTuple):
    """Rows of a map, whole ones as they lie in the file."""

    part: Map
    first: int
    last: int
    start: int
    stop: int


class Gpu:
    """One lane of a GPU: a stream for kernels, and the ring through which weights come to it.

    Parameters
    ----------
    driver : Driver
        The GPU and the stream.
    chunk_bytes : int
        Weights that travel at a time; 0 if all of them lie on this GPU already.
    """

    def __init__(self, driver: Driver, chunk_bytes: int) -> None:
        self._driver = driver
        self._feed = Feed(driver, chunk_bytes) if chunk_bytes else None

    def close(self) -> None:
        """End the reader threads."""
        if self._feed:
            self._feed.close()

    def measure(
        self,
        checkpoint: Checkpoint,
        layer: Layer,
        unit: Unit,
        protocol: Protocol,
        *,
        factors: Mapping[str, float] = EVERY_FACTOR_IS_ONE,
    ) -> UnitSums:
        """Do on this GPU what `neuromfa.measure.measure` does on the CPU.

        Raises
        ------
        BadInputError
            If a file cannot be read, or a weight is NaN or infinite and such are not dropped.
        ResourceError
            If the GPU has not enough memory, or fails.
        """
        with _told(layer):
            counts = self._count(checkpoint, layer, unit, protocol, factors=factors)
            if counts.dropped[NONFINITE] and protocol.nonfinite == "error":
                raise nonfinite_weight(checkpoint, layer)
            return self._sum_up(counts, layer, unit, protocol)

    def count(
        self,
        checkpoint: Checkpoint,
        layer: Layer,
        unit: Unit,
        protocol: Protocol,
        *,
        factors: Mapping[str, float] = EVERY_FACTOR_IS_ONE,
    ) -> NeighbourCounts:
        """Count the neighbours of a unit's neurons, and bring the counts to the host.

        Weights that are not finite are counted as such, whatever the protocol says of them.

        Raises
        ------
        BadInputError
            If a file cannot be read.
        ResourceError
            If the GPU has not enough memory, or fails.
        """
        with _told(layer):
            counts = self._count(checkpoint, layer, unit, protocol, factors=factors)
            to_host = self._driver.to_host
            return NeighbourCounts(to_host(counts.counts), to_host(counts.near), counts.dropped)

    def _count(
        self,
        checkpoint: Checkpoint,
        layer: Layer,
        unit: Unit,
        protocol: Protocol,
        *,
        factors: Mapping[str, float],
    ) -> NeighbourCounts:
        neurons, radii = unit.stop - unit.start, protocol.n_radii
        counts = NeighbourCounts(
            self._driver.zeros((radii, neurons), np.uint32),
            self._driver.zeros((2, neurons), np.uint32),
            self._driver.zeros(4, np.int64),
        )
        for chunk, matrix in self._matrices(checkpoint, layer, unit, factors):
            part = chunk.part
            dtype = checkpoint.tensors[part.tensor].dtype
            table = radius_table(dtype, protocol.cutoff, factors.get(part.tensor, 1.0))
            for piece, neuron in _pieces(chunk, matrix):
                first = part.first_neuron + neuron - unit.start
                mine = slice(first, first + piece.shape[part.neuron_axis])
                into = NeighbourCounts(counts.counts[:, mine], counts.near[:, mine], counts.dropped)
                add_neighbours(piece, table, part.neuron_axis, out=into, driver=self._driver)
        dropped = self._driver.to_host(counts.dropped)
        for part, first, last in maps_of(layer, unit):
            if factors.get(part.tensor, 1.0) == 0:
                dropped[ZERO] += _weights(part, first, last)
        return counts._replace(dropped=dropped)

    def _sum_up(
        self, counts: NeighbourCounts, layer: Layer, unit: Unit, protocol: Protocol
    ) -> UnitSums:
        neurons = unit.stop - unit.start
        weights = sum(_weights(*some) for some in maps_of(layer, unit))
        few, to_host = protocol.min_neighbours, self._driver.to_host
        tiles = partition_function(counts.counts, np.asarray(moments(protocol)), few, self._driver)
        dimension = fractal_dimension(counts.counts, counts.near, few, self._driver)
        sums = TileSums(
            to_host(tiles.Z),
            to_host(tiles.Z_log),
            int(to_host(tiles.counted)),
            to_host(tiles.observed),
        )
        return UnitSums(
            in_one(sums) if neurons == layer.neurons else sums,
            neurons,
            weights - int(counts.dropped.sum()),
            counts.dropped,
            to_host(dimension.values),
            int((to_host(dimension.reason) == TOO_FEW_EDGES).sum()),
        )

    def _matrices(
        self, checkpoint: Checkpoint, layer: Layer, unit: Unit, factors: Mapping[str, float]
    ) -> Iterator[tuple[_Chunk, Any]]:
        """Rows of a unit's maps on this GPU: those that lie there, and the others by the ring."""
        wanted = [
            _Chunk(part, first, last, *_rows(part, first, last))
            for part, first, last in maps_of(layer, unit)
            if factors.get(part.tensor, 1.0) != 0
        ]
        streamed = []
        for chunk in wanted:
            if checkpoint.tensors[chunk.part.tensor].gpu is None:
                streamed.append(chunk)
                continue
            held = checkpoint.on_gpu(chunk.part.tensor)
            self._driver.after(held.ready)
            yield chunk, held.matrix(chunk.part.cols)[chunk.start : chunk.stop]
        if self._feed and streamed:
            for chunk, codes in self._feed.chunks(
                self._chunks(checkpoint, streamed, self._feed.nbytes),
                lambda chunk: _fill(checkpoint, chunk),
            ):
                itemsize = checkpoint.tensors[chunk.part.tensor].itemsize
                yield chunk, codes.view(f"u{itemsize}").reshape(-1, chunk.part.cols)

    def _chunks(
        self, checkpoint: Checkpoint, wanted: list[_Chunk], nbytes: int
    ) -> Iterator[_Chunk]:
        """Cut rows into blocks that fit the ring."""
        for whole in wanted:
            row_bytes = whole.part.cols * checkpoint.tensors[whole.part.tensor].itemsize
            step = max(1, nbytes // max(1, row_bytes))
            for start in range(whole.start, whole.stop, step):
                yield whole._replace(start=start, stop=min(start + step, whole.stop))


def _fill(checkpoint: Checkpoint, chunk: _Chunk) -> Fill:
    part, (start, stop) = chunk.part, chunk[3:]
    nbytes = (stop - start) * part.cols * checkpoint.tensors[part.tensor].itemsize
    return Fill(
        nbytes,
        lambda out: checkpoint.copy_rows(part.tensor, start, stop, cols=part.cols, out=out),
    )


def _weights(part: Map, first: int, last: int) -> int:
    return part.weights // part.neurons * (last - first)


def _rows(part: Map, first: int, last: int) -> tuple[int, int]:
    if part.neuron_axis == 0:
        return part.start + first, part.start + last
    return part.start, part.stop


@contextmanager
def _told(layer: Layer) -> Iterator[None]:
    """Tell what goes wrong on a GPU in one sentence that names the layer."""
    try:
        yield
    except MemoryError as error:
        raise ResourceError(f"layer {layer.name}: {error}; lower --device-memory") from error
    except RuntimeError as error:
        raise ResourceError(f"layer {layer.name}: {error}") from error


def _pieces(chunk: _Chunk, matrix: Any) -> Iterator[tuple[Any, int]]:
    """Matrices of a chunk, and the neuron of the map that each begins with."""
    part = chunk.part
    if part.neuron_axis == 0:
        yield matrix, chunk.start - part.start
        return
    step = part.columns_per_neuron
    columns = matrix[:, chunk.first * step : chunk.last * step]
    for position in range(step):
        yield columns[:, position::step], chunk.first
