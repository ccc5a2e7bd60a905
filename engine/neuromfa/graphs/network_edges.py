"""The edges of a model's network, block by block, with the units that they connect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import UsageError
from neuromfa.graphs.chain import choose_layers
from neuromfa.measure import nonfinite_weight
from neuromfa.multifractal import Float64, Int64
from neuromfa.network import Layer, Map
from neuromfa.protocol import Protocol
from neuromfa.scheduler import prepare
from neuromfa.units import DEFAULT_MEMORY

if TYPE_CHECKING:
    import pyarrow as pa

    from neuromfa.scheduler import Source

BLOCK_WEIGHTS = 1 << 20
"""Weights looked at together: what bounds the memory of an edge list."""


class NetworkUnit(NamedTuple):
    """A unit of a network: a neuron of a layer, or an output of a tensor.

    Attributes
    ----------
    kind : {"neuron", "output"}
        Whether edges leave it or arrive.
    name : str
        Of the layer, or of the tensor.
    position : int
        Among the neurons of the layer, or the outputs of the tensor.
    """

    kind: str
    name: str
    position: int


class Edges(NamedTuple):
    """Edges of a block of weights; units are numbered through the part of the network."""

    layer: int
    tensor: int
    source: Int64
    target: Int64
    weight: Float64


@dataclass(frozen=True, slots=True)
class NetworkPart:
    """Layers of an open checkpoint, their tensors, and the number of each one's first unit."""

    checkpoint: Checkpoint
    layers: tuple[Layer, ...]
    tensors: tuple[str, ...]
    outputs: tuple[int, ...]
    min_weight: float
    memory: int

    def firsts(self) -> tuple[Int64, Int64]:
        """Number of neuron 0 of each layer, and of output 0 of each tensor."""
        sizes = [layer.neurons for layer in self.layers] + list(self.outputs)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return starts[: len(self.layers)], starts[len(self.layers) :]

    def units(self) -> list[NetworkUnit]:
        """All units in the order of their numbers."""
        neurons = (
            NetworkUnit("neuron", layer.name, k)
            for layer in self.layers
            for k in range(layer.neurons)
        )
        outputs = (
            NetworkUnit("output", tensor, k)
            for tensor, count in zip(self.tensors, self.outputs, strict=True)
            for k in range(count)
        )
        return [*neurons, *outputs]

    def edges(self) -> Iterator[Edges]:
        """Edges layer by layer, map by map, block by block."""
        neurons, outputs = self.firsts()
        number = {tensor: k for k, tensor in enumerate(self.tensors)}
        for index, layer in enumerate(self.layers):
            for part in layer.maps:
                tensor = number[part.tensor]
                for row, weights in _blocks(self.checkpoint, part):
                    if not np.isfinite(weights).all():
                        raise nonfinite_weight(self.checkpoint, layer)
                    rows, columns = np.nonzero((weights != 0) & (abs(weights) >= self.min_weight))
                    values = weights[rows, columns]
                    rows += row - part.start
                    if part.neuron_axis:
                        neuron, output = columns // part.columns_per_neuron, part.start + rows
                    else:
                        neuron, output = rows, columns
                    neuron += part.first_neuron + neurons[index]
                    yield Edges(index, tensor, neuron, output + outputs[tensor], values)
                self.checkpoint.release(part.tensor)

    def tables(self) -> Iterator[pa.Table]:
        """Edge lists of the blocks, at least one."""
        import pyarrow as pa  # noqa: PLC0415  (slow to import)

        neurons, outputs = self.firsts()
        layers = pa.array([layer.name for layer in self.layers])
        tensors = pa.array(self.tensors)

        def same(code: int, names: Any, count: int) -> Any:
            codes = pa.array(np.full(count, code, np.int32))
            return pa.DictionaryArray.from_arrays(codes, names)

        for found in self.edges():
            n = len(found.weight)
            yield pa.table(
                {
                    "source": found.source,
                    "target": found.target,
                    "weight": found.weight,
                    "distance": 1.0 / np.abs(found.weight),
                    "layer": same(found.layer, layers, n),
                    "neuron": found.source - neurons[found.layer],
                    "tensor": same(found.tensor, tensors, n),
                    "output": found.target - outputs[found.tensor],
                }
            )


def _blocks(checkpoint: Checkpoint, part: Map) -> Iterator[tuple[int, Float64]]:
    """First row and float64 weights of the blocks of rows of a map."""
    step = max(1, BLOCK_WEIGHTS // part.cols)
    for start in range(part.start, part.stop, step):
        stop = min(start + step, part.stop)
        weights: npt.NDArray[Any] = checkpoint.read(part.tensor, start, stop, cols=part.cols)
        yield start, weights.astype(np.float64)


def _outputs(layers: Iterable[Layer]) -> dict[str, int]:
    """Tensors and the number of their outputs, counted over all maps that a tensor holds."""
    counts: dict[str, int] = {}
    for layer in layers:
        for part in layer.maps:
            here = part.stop if part.neuron_axis else part.cols
            counts[part.tensor] = max(counts.get(part.tensor, 0), here)
    return counts


@contextmanager
def opened_part(
    source: Source, names: Sequence[str], min_weight: float, options: dict[str, Any]
) -> Iterator[NetworkPart]:
    """Open a checkpoint and choose its layers by names or patterns; `options` as for `preview`.

    Raises
    ------
    UsageError
        If no layer has such a name, or `min_weight` is negative.
    """
    if not min_weight >= 0:  # also refuses NaN
        raise UsageError(f"min_weight {min_weight:g}: must be at least 0")
    memory = options.setdefault("memory", DEFAULT_MEMORY)
    with prepare(source, Protocol(), **options) as job:
        kept = choose_layers(job.network.layers, names, job.checkpoint.source)
        counts = _outputs(kept)
        yield NetworkPart(
            job.checkpoint, kept, tuple(counts), tuple(counts.values()), min_weight, memory
        )
