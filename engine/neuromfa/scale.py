"""How large the weights of each tensor are, and the factors by which distances see them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.cluster.calls import Call, Cluster, make_calls
from neuromfa.errors import UnsupportedError
from neuromfa.measure import nonfinite_weight
from neuromfa.multifractal import Float64
from neuromfa.network import Layer, Network
from neuromfa.protocol import Protocol

BLOCK_WEIGHTS = 1 << 16
"""Weights summed together; blocks are added exactly, so their order does not matter."""
SMALLEST_RMS = 1e-150
"""Below it squares are subnormal and lose digits."""


@dataclass(frozen=True, slots=True)
class TensorScale:
    """Size of a tensor's weights, zeros included (definitions, section 2).

    Attributes
    ----------
    weights : int
        Finite weights.
    mean, rms : float
        Their mean and root mean square, dimensionless; zero where there are none.
    """

    weights: int
    mean: float
    rms: float

    @property
    def sd(self) -> float:
        """Standard deviation, with n."""
        return math.sqrt(max(0.0, self.rms**2 - self.mean**2))


def tensor_scales(
    checkpoint: Checkpoint,
    network: Network,
    protocol: Protocol,
    *,
    threads: int,
    cluster: Cluster | None = None,
) -> dict[str, TensorScale]:
    """Measure every tensor that the layers are made of, in one pass.

    The sums of fixed blocks of rows are added exactly, so that neither threads nor the cutting
    of a checkpoint into files changes a bit.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where the weights are.
    network : Network
        Its layers say which tensors.
    protocol : Protocol
        Decides whether weights that are not finite are left out.
    threads : int
        Tensors worked on at the same time.
    cluster : Cluster, optional
        Workers that do it instead.

    Returns
    -------
    dict of str to TensorScale
        By tensor, in the order of the layers.

    Raises
    ------
    BadInputError
        If a weight is NaN or infinite, unless such weights are dropped.
    UnsupportedError
        If squares of the weights leave the range of float64.
    """
    layers = {tensor: layer for layer in network.layers for tensor in layer.tensors}
    calls = [
        Call(
            partial(tensor_scale, tensor=tensor, layer=layer, protocol=protocol),
            layer.tensors,
            checkpoint.tensors[tensor].nbytes,
        )
        for tensor, layer in layers.items()
    ]
    found = make_calls(checkpoint, calls, threads=threads, cluster=cluster)
    return dict(zip(layers, found, strict=True))


def relative_factors(scales: Mapping[str, TensorScale], protocol: Protocol) -> dict[str, float]:
    """Factor of each tensor with which 1/abs(w * factor) is the protocol's distance.

    Parameters
    ----------
    scales : mapping of str to TensorScale
        By tensor.
    protocol : Protocol
        One with relative distances; for inverse ones every factor is 1.

    Returns
    -------
    dict of str to float
        By tensor; 1 for a tensor of zeros, which has no edges.
    """
    if protocol.relative_scale is None:
        return dict.fromkeys(scales, 1.0)
    return {
        tensor: 1.0 / (protocol.relative_scale * scale.rms) if scale.rms else 1.0
        for tensor, scale in scales.items()
    }


def row_blocks(checkpoint: Checkpoint, tensor: str) -> Iterator[Float64]:
    """Weights of a tensor as float64 matrices, blocks of rows that depend on its shape alone."""
    shape = checkpoint.tensors[tensor].shape
    rows = math.prod(shape[:-1])
    step = max(1, BLOCK_WEIGHTS // max(1, shape[-1]))
    for start in range(0, rows, step):
        yield checkpoint.read(tensor, start, min(start + step, rows)).astype("float64")


def tensor_scale(
    checkpoint: Checkpoint, tensor: str, layer: Layer, protocol: Protocol
) -> TensorScale:
    """Measure one tensor; messages name it by its layer. See `tensor_scales`."""
    weights, sums, squares, edges = 0, [], [], False
    for block in row_blocks(checkpoint, tensor):
        values = block.ravel()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if not math.isfinite(values.sum()):
                values = _finite(checkpoint, layer, values, protocol)
            sums.append(float(values.sum()))
            squares.append(float((values * values).sum()))
        weights += values.size
        edges = edges or bool(values.any())
    try:
        rms = math.sqrt(math.fsum(squares) / max(1, weights))
        mean = math.fsum(sums) / max(1, weights)
    except (OverflowError, ValueError):  # infinite sums
        rms = mean = math.inf
    if not math.isfinite(rms + mean) or (edges and rms < SMALLEST_RMS):
        ref = checkpoint.tensors[tensor]
        raise UnsupportedError(
            f"{ref.file or checkpoint.source}: tensor {tensor} has weights whose squares leave the "
            "range of float64, so it has no root mean square; rescale it"
        )
    return TensorScale(weights, mean, rms)


def _finite(checkpoint: Checkpoint, layer: Layer, values: Float64, protocol: Protocol) -> Float64:
    """Finite ones among some values, if the protocol leaves out the others."""
    finite = np.isfinite(values)
    if not finite.all() and protocol.nonfinite == "error":
        raise nonfinite_weight(checkpoint, layer)
    return values[finite]
