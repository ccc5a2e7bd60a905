"""Measures units of work on a GPU: weights stream in, integers add up, small sums come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

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
from neuromfa.units import Plan, Unit
from neuromfa_kernels import TOO_FEW_EDGES, NeighbourCounts, TileSums, radius_table
from neuromfa_kernels.cuda_counts import add_neighbours
from neuromfa_kernels.cuda_dimension import fractal_dimension
from neuromfa_kernels.cuda_driver import Driver
from neuromfa_kernels.cuda_feed import Feed, Fill
from neuromfa_kernels.cuda_partition import partition_function

if TYPE_CHECKING:
    from collections.abc import Callable


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
        Weights that travel at a time.
    """

    def __init__(self, driver: Driver, chunk_bytes: int) -> None:
        self._driver = driver
        self._feed = Feed(driver, chunk_bytes)

    def close(self) -> None:
        """End the reader threads."""
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
        try:
            return self._measure(checkpoint, layer, unit, protocol, factors)
        except MemoryError as error:
            raise ResourceError(f"layer {layer.name}: {error}; lower --device-memory") from error
        except RuntimeError as error:
            raise ResourceError(f"layer {layer.name}: {error}") from error

    def _measure(  # noqa: PLR0917  (those of `measure`)
        self,
        checkpoint: Checkpoint,
        layer: Layer,
        unit: Unit,
        protocol: Protocol,
        factors: Mapping[str, float],
    ) -> UnitSums:
        neurons, radii = unit.stop - unit.start, protocol.n_radii
        counts = NeighbourCounts(
            self._driver.zeros((radii, neurons), np.uint32),
            self._driver.zeros((2, neurons), np.uint32),
            self._driver.zeros(4, np.int64),
        )
        weights = 0

        def fill(chunk: _Chunk) -> Fill:
            part, (start, stop) = chunk.part, chunk[3:]
            nbytes = (stop - start) * part.cols * checkpoint.tensors[part.tensor].itemsize
            return Fill(
                nbytes,
                lambda out: checkpoint.copy_rows(part.tensor, start, stop, cols=part.cols, out=out),
            )

        zeros = 0
        for part, first, last in maps_of(layer, unit):
            if factors.get(part.tensor, 1.0) == 0:
                zeros += part.weights // part.neurons * (last - first)
        chunks = self._chunks(checkpoint, layer, unit, factors)
        for chunk, codes in self._feed.chunks(chunks, fill):
            part = chunk.part
            dtype = checkpoint.tensors[part.tensor].dtype
            table = radius_table(dtype, protocol.cutoff, factors.get(part.tensor, 1.0))
            matrix = codes.view(f"u{table.dtype.itemsize}").reshape(-1, part.cols)
            for piece, neuron in _pieces(chunk, matrix):
                first = part.first_neuron + neuron - unit.start
                mine = slice(first, first + piece.shape[part.neuron_axis])
                into = NeighbourCounts(counts.counts[:, mine], counts.near[:, mine], counts.dropped)
                add_neighbours(piece, table, part.neuron_axis, out=into, driver=self._driver)
                weights += int(piece.size)
        dropped = self._driver.to_host(counts.dropped)
        dropped[ZERO] += zeros
        if dropped[NONFINITE] and protocol.nonfinite == "error":
            raise nonfinite_weight(checkpoint, layer)
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
            weights + zeros - int(dropped.sum()),
            dropped,
            to_host(dimension.values),
            int((to_host(dimension.reason) == TOO_FEW_EDGES).sum()),
        )

    def _chunks(
        self, checkpoint: Checkpoint, layer: Layer, unit: Unit, factors: Mapping[str, float]
    ) -> Iterator[_Chunk]:
        """Cut a unit's part of every map into row blocks that fit the ring."""
        for part, first, last in maps_of(layer, unit):
            if factors.get(part.tensor, 1.0) == 0:
                continue
            rows = part.start, part.stop
            if part.neuron_axis == 0:
                rows = part.start + first, part.start + last
            row_bytes = part.cols * checkpoint.tensors[part.tensor].itemsize
            step = max(1, self._feed.nbytes // max(1, row_bytes))
            for start in range(*rows, step):
                yield _Chunk(part, first, last, start, min(start + step, rows[1]))


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


def open_lane(gpu: int, chunk_bytes: int) -> Gpu:
    """Open a lane of a GPU; `ResourceError` if it, or its memory, cannot be had."""
    try:
        return Gpu(Driver(gpu).lane(), chunk_bytes)
    except (MemoryError, RuntimeError) as error:
        raise ResourceError(f"device cuda:{gpu}: {error}") from error


@contextmanager
def gpus_at_work(plan: Plan) -> Iterator[Callable[..., UnitSums]]:
    """Open the lanes of a plan's GPUs; give a `measure` that takes whichever lane is free.

    Raises
    ------
    ResourceError
        If a GPU, or its memory, cannot be had.
    """
    lanes: SimpleQueue[Gpu] = SimpleQueue()
    opened: list[Gpu] = []
    try:
        for number in range(plan.threads):
            gpu = plan.devices.gpus[number % len(plan.devices.gpus)]
            opened.append(open_lane(gpu, plan.chunk_bytes))
            lanes.put(opened[-1])

        def measure(*args: Any, **settings: Any) -> UnitSums:
            lane = lanes.get()
            try:
                return lane.measure(*args, **settings)
            finally:
                lanes.put(lane)

        yield measure
    finally:
        for lane in opened:
            lane.close()
