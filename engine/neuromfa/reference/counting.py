"""One sampled network: its weights read, its edges counted, its exponents fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import BadInputError
from neuromfa.multifractal import Float64, Int64
from neuromfa.reference.differences import forward_spectrum
from neuromfa.reference.layout import Block, Part
from neuromfa.reference.samples import ReferenceSample, SampledDimension
from neuromfa.reference.sampling import SamplingPlan
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa_kernels import (
    NeighbourCounts,
    count_neighbours,
    fractal_dimension,
    radius_table,
)


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Counts of the neurons of one sampled network, layer after layer.

    `near` and `far` are the counts up to the two cutoffs, of the spectrum and of the dimensions;
    `edges` is how many edges each neuron has, of any length.
    """

    near: NeighbourCounts
    far: NeighbourCounts
    edges: Int64
    layer_sizes: tuple[int, ...]
    bytes_read: int


def measure_sample(
    checkpoint: Checkpoint,
    blocks: Sequence[Block],
    plan: SamplingPlan,
    *,
    protocol: ReferenceProtocol,
    artificial: bool,
) -> tuple[ReferenceSample, int]:
    """Analyse one sampled network.

    Parameters
    ----------
    checkpoint : Checkpoint
        Only the sampled rows or columns of its tensors are touched.
    blocks : sequence of Block
        Its chain of layers.
    plan : SamplingPlan
        The units drawn.
    protocol : ReferenceProtocol
        All settings.
    artificial : bool
        Whether the lists of dimensions hold the authors' query, key and value units.

    Returns
    -------
    ReferenceSample
        The result.
    int
        Bytes of weights that were looked at.

    Raises
    ------
    BadInputError
        If a sampled weight is NaN or infinite and the protocol does not drop it.
    """
    counted = _count(checkpoint, blocks, plan, protocol)
    exact = protocol.spectrum
    counts, dropped = counted.near.counts, counted.near.dropped
    found = forward_spectrum(counts, exact)
    below, above, zeros, nonfinite = map(int, dropped)
    in_range = int(counts.sum(dtype=np.int64))
    sample = ReferenceSample(
        sample=plan.sample,
        plan_sha256=plan.digest(),
        neurons=len(counted.edges),
        counted_neurons=found.counted,
        edges=in_range + below + above,
        edges_in_range=in_range,
        edges_below=below,
        edges_above=above,
        zeros=zeros,
        nonfinite=nonfinite,
        artificial_edges=_artificial_edges(plan) if artificial else 0,
        radii=found.fit.radii,
        tau=found.tau,
        tau_stderr=found.fit.tau_stderr,
        r2=found.fit.r2,
        alpha=found.alpha,
        f=found.f,
        alpha_0=found.alpha_0,
        alpha_0_index=found.index,
        alpha_0_derivative=found.derivative,
        width=found.width,
        fractal_dimension=_dimensions(counted, exact.min_neighbours, artificial=artificial),
        undefined=found.fit.undefined,
    )
    return sample, counted.bytes_read


def _count(
    checkpoint: Checkpoint,
    blocks: Sequence[Block],
    plan: SamplingPlan,
    protocol: ReferenceProtocol,
) -> _Counted:
    drawn = [(b, b.drawn(units)) for b, units in zip(blocks, plan.blocks, strict=True)]
    sizes = tuple(len(neurons) for _, layers in drawn for neurons, _ in layers)
    cutoffs = protocol.cutoff, protocol.dimension_cutoff
    tables = [radius_table(np.float64, cutoff) for cutoff in cutoffs]
    whole = [
        NeighbourCounts(
            np.zeros((sum(sizes), table.n_radii), np.uint32).T,
            np.zeros((2, sum(sizes)), np.uint32),
            np.zeros(4, np.int64),
        )
        for table in tables
    ]
    edges = np.zeros(sum(sizes), np.int64)
    first = bytes_read = 0
    for block, layers in drawn:
        for (_, parts), (neurons, targets) in zip(block.layers, layers, strict=True):
            mine = slice(first, first + len(neurons))
            for part in parts:
                at = part.outputs(targets), neurons
                weights = _read(checkpoint, part, at)
                bytes_read += weights.size * checkpoint.tensors[part.map.tensor].itemsize
                if protocol.nonfinite == "error" and not np.isfinite(weights).all():
                    raise _nonfinite(checkpoint, part, at, weights)
                edges[mine] += (weights != 0).sum(axis=0)
                for table, to in zip(tables, whole, strict=True):
                    into = NeighbourCounts(to.counts[:, mine], to.near[:, mine], to.dropped)
                    count_neighbours(weights, table, neuron_axis=1, into=into, threads=1)
            first = mine.stop
    return _Counted(whole[0], whole[1], edges, sizes, bytes_read)


def _read(checkpoint: Checkpoint, part: Part, at: tuple[Int64, Int64]) -> Float64:
    """Sampled weights [outputs, neurons], widened; pages of other rows are not touched."""
    matrix, (outputs, neurons) = part.map, at
    stored = checkpoint.read(matrix.tensor, matrix.start, matrix.stop, cols=matrix.cols)
    if matrix.neuron_axis:
        return stored[np.ix_(outputs, neurons)].astype(np.float64)
    return stored[np.ix_(neurons, outputs)].T.astype(np.float64)


def _nonfinite(
    checkpoint: Checkpoint, part: Part, at: tuple[Int64, Int64], weights: Float64
) -> BadInputError:
    """Say where the first sampled weight that is not finite stands in its tensor."""
    output, neuron = np.argwhere(~np.isfinite(weights))[0]
    place = [int(at[0][output]), int(at[1][neuron])]
    row, column = place if part.map.neuron_axis else reversed(place)
    ref = checkpoint.tensors[part.map.tensor]
    flat = (part.map.start + row) * part.map.cols + column
    index = [int(i) for i in np.unravel_index(flat, ref.shape)]
    return BadInputError(
        f"{ref.file or checkpoint.source}: tensor {ref.name} is {weights[output, neuron]} at "
        f"{index}; analyse without such weights: --nonfinite drop"
    )


def _artificial_edges(plan: SamplingPlan) -> int:
    """Each query to its own attention dimension, keys and values to all, whatever the head."""
    sizes = [len(block.attention) for block in plan.blocks]
    return sum(n + 2 * n * n for n in sizes)


def _dimensions(counted: _Counted, few: int, *, artificial: bool) -> SampledDimension:
    """Dimensions in the order of the authors' lists, with their zeros and without absent units."""
    far = counted.far
    found = fractal_dimension(far.counts, far.near, min_neighbours=few, threads=1)
    values = np.where(found.reason == 0, found.values, 0.0)
    parts: list[Float64] = []
    defined: list[Float64] = []
    n_artificial = first = 0
    for layer, size in enumerate(counted.layer_sizes):
        mine = slice(first, first + size)
        there = counted.edges[mine] > 0
        parts.append(values[mine][there])
        defined.append(values[mine][found.reason[mine] == 0])
        if artificial and layer % 4 == 0:  # after the inputs of a block
            units = 3 * counted.layer_sizes[layer + 1]
            parts.append(np.zeros(units))
            n_artificial += units
        first += size
    return SampledDimension.of(np.concatenate(parts), np.concatenate(defined), n_artificial)
