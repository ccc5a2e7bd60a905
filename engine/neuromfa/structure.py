"""Simpler measures of a network's structure, to see whether the spectrum adds anything to them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Literal, Self

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.cluster.calls import Call, Cluster, make_calls
from neuromfa.measure import count, read_map
from neuromfa.multifractal import Float64, Int64
from neuromfa.network import Layer, Map, Network
from neuromfa.protocol import Protocol
from neuromfa.scheduler import Prepared
from neuromfa.spectral_norm import map_norms
from neuromfa.units import Unit
from neuromfa_kernels import TILE

STRONG_RADIUS = 10
"""An edge is strong if its radius is at most this."""
BLOCK_EDGES = 64
"""Edges of a tile's neurons that are added together."""

Measures = Literal["simple", "full"]


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Simpler measures of some neurons; additive (definitions, section 6).

    Attributes
    ----------
    neurons : int
        How many.
    mean, squares : float
        Mean of their strengths, and sum of squared distances from it.
    edges, below : int
        Edges, and those with d <= 1.
    at_radius : int64 array, shape (n_radii,)
        Edges at each radius.
    """

    neurons: int
    mean: float
    squares: float
    edges: int
    below: int
    at_radius: Int64

    def __add__(self, other: Self) -> Self:
        n = self.neurons + other.neurons
        delta, share = other.mean - self.mean, other.neurons / n
        return type(self)(
            n,
            self.mean + delta * share,
            self.squares + other.squares + delta * delta * self.neurons * share,
            self.edges + other.edges,
            self.below + other.below,
            self.at_radius + other.at_radius,
        )

    def to_dict(self, cutoff: float) -> dict[str, float | None]:
        """JSON-ready measures; standard deviation with n - 1, None where undefined."""
        sd = math.sqrt(self.squares / (self.neurons - 1)) if self.neurons > 1 else None
        strong = self.below + int(self.at_radius[:STRONG_RADIUS].sum())
        shape = weibull_shape(self.below, self.at_radius, self.edges, cutoff=cutoff)
        return {
            "strength_mean": self.mean,
            "strength_cv": sd / self.mean if sd is not None and self.mean else None,
            "strong_share": strong / self.edges if self.edges else None,
            "weibull_shape": shape if math.isfinite(shape) else None,
        }


def weibull_shape(below: int, at_radius: Int64, edges: int, *, cutoff: float) -> float:
    """Shape of the Weibull distribution of abs(w), from counts.

    With S(x) the share of edges at least as strong as x, ln(-ln S) is a straight line over ln x
    for a Weibull distribution, and the shape is its slope: here the least squares slope over the
    borders between radii.

    Parameters
    ----------
    below : int
        Edges with d <= 1.
    at_radius : int64 array, shape (n_radii,)
        Edges at each radius.
    edges : int
        All edges.
    cutoff : float
        Largest distance that counts.

    Returns
    -------
    float
        Smaller for heavier tails: 1 where abs(w) is exponential, above it where w is normal; NaN
        with fewer than two borders.
    """
    longest = np.append(1.0, np.minimum(np.arange(1, len(at_radius) + 1) + 0.5, cutoff))
    stronger = below + np.append(0, np.cumsum(at_radius))
    inside = (stronger > 0) & (stronger < edges)
    if inside.sum() < 2:
        return math.nan
    x = -np.log(longest[inside])
    y = np.log(-np.log(stronger[inside] / edges))
    x -= x.mean()
    return float((x * y).sum() / (x * x).sum())


def measure_structure(
    job: Prepared,
    protocol: Protocol,
    measures: Measures,
    *,
    factors: Mapping[str, float],
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Measure every group in a second pass over the weights.

    Parameters
    ----------
    job : Prepared
        Checkpoint, network and plan.
    protocol : Protocol
        The cutoff, and what is done with weights that are not finite.
    measures : {"simple", "full"}
        Full adds norms and stable rank of every map.
    factors : mapping of str to float
        By tensor, what weights are multiplied by before their distances are taken.
    cluster : Cluster, optional
        Workers that do it instead of threads of this machine.

    Returns
    -------
    dict
        JSON-ready.
    """
    network, units = job.network, job.plan.units
    answers = _made(job, [_call_unit(network, unit, protocol, factors) for unit in units], cluster)
    of_layers = groupby(zip(units, answers, strict=True), key=lambda pair: pair[0].layer)
    layers = [_layer([answer for _, answer in pairs]) for _, pairs in of_layers]
    maps = None
    if measures == "full":
        places = [(layer.name, part) for layer in network.layers for part in layer.maps]
        found = _made(job, [_call_map(job, part, protocol) for _, part in places], cluster)
        maps = [
            {"layer": name, "tensor": part.tensor, "rows": [part.start, part.stop], **norms}
            for (name, part), norms in zip(places, found, strict=True)
        ]
    groups: dict[tuple[str, str], Structure] = {}
    for layer, own in zip(network.layers, layers, strict=True):
        for key in _groups(layer):
            groups[key] = groups[key] + own if key in groups else own
    order = ("network", "blocks", "roles", "layers")
    return {
        "measures": measures,
        "strong_radius": STRONG_RADIUS,
        "groups": [
            {"kind": kind, "name": name, **groups[kind, name].to_dict(protocol.cutoff)}
            for kind, name in sorted(groups, key=lambda key: order.index(key[0]))
        ],
        "maps": maps,
    }


def _made(job: Prepared, calls: list[Call], cluster: Cluster | None) -> Iterator[Any]:
    return make_calls(job.checkpoint, calls, threads=job.plan.threads, cluster=cluster)


def _call_unit(
    network: Network, unit: Unit, protocol: Protocol, factors: Mapping[str, float]
) -> Call:
    layer = network.layers[unit.layer]
    own = {tensor: factors[tensor] for tensor in layer.tensors if tensor in factors}
    work = partial(_unit, layer=layer, unit=unit, protocol=protocol, factors=own)
    return Call(work, layer.tensors, unit.weight_bytes)


def _call_map(job: Prepared, part: Map, protocol: Protocol) -> Call:
    cost = job.checkpoint.tensors[part.tensor].itemsize * part.weights
    return Call(partial(map_norms, part=part, protocol=protocol), (part.tensor,), cost)


def _groups(layer: Layer) -> Iterator[tuple[str, str]]:
    yield "network", "network"
    if layer.block is not None:
        yield "blocks", layer.block
    yield "roles", layer.role
    yield "layers", layer.name


def _layer(units: list[tuple[Float64, int, int, Int64]]) -> Structure:
    strengths = np.concatenate([strengths for strengths, *_ in units])
    mean = float(strengths.mean())
    return Structure(
        len(strengths),
        mean,
        float(((strengths - mean) ** 2).sum()),
        sum(edges for _, edges, _, _ in units),
        sum(below for _, _, below, _ in units),
        np.sum([at_radius for *_, at_radius in units], axis=0),
    )


def _unit(
    checkpoint: Checkpoint,
    layer: Layer,
    unit: Unit,
    protocol: Protocol,
    *,
    factors: Mapping[str, float],
) -> tuple[Float64, int, int, Int64]:
    """Strength of each neuron; edges, those with d <= 1, and those at each radius."""
    counts = count(checkpoint, layer, unit, protocol, factors=factors)
    at_radius = counts.counts.sum(axis=1, dtype=np.int64)
    below, above = int(counts.dropped[0]), int(counts.dropped[1])
    tiles = range(unit.start, unit.stop, TILE)
    strengths = [
        _strengths(checkpoint, layer, first, min(first + TILE, unit.stop)) for first in tiles
    ]
    return np.concatenate(strengths), int(at_radius.sum()) + below + above, below, at_radius


def _strengths(checkpoint: Checkpoint, layer: Layer, start: int, stop: int) -> Float64:
    """Sum of abs(w) of each neuron of a tile, in an order that depends on the layer alone."""
    strengths = np.zeros(stop - start)
    for part in layer.maps:
        first = max(part.first_neuron, start)
        last = min(part.first_neuron + part.neurons, stop)
        if first >= last:
            continue
        at = slice(first - part.first_neuron, last - part.first_neuron)
        for weights in read_map(checkpoint, part, at):
            edges = weights if part.neuron_axis else weights.T
            for row in range(0, len(edges), BLOCK_EDGES):
                block = np.abs(edges[row : row + BLOCK_EDGES].astype(np.float64))
                block[~np.isfinite(block)] = 0.0  # the counts have refused or dropped them
                strengths[first - start : last - start] += block.sum(axis=0)
    return strengths
