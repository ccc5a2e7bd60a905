"""Simpler measures of a network's structure, to see whether the spectrum adds anything to them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, Self

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.measure import count, read_map
from neuromfa.multifractal import Float64, Int64
from neuromfa.network import Layer
from neuromfa.protocol import Protocol
from neuromfa.scheduler import Prepared, run
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
    job: Prepared, protocol: Protocol, measures: Measures, *, factors: Mapping[str, float]
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

    Returns
    -------
    dict
        JSON-ready.
    """
    network, plan = job.network, job.plan
    with ThreadPoolExecutor(plan.threads, thread_name_prefix="neuromfa") as executor:
        answers = run(
            plan.units,
            lambda unit: _unit(
                job.checkpoint, network.layers[unit.layer], unit, protocol, factors=factors
            ),
            executor,
            in_flight=2 * plan.threads,
        )
        of_layers = groupby(answers, key=lambda answer: answer[0].layer)
        layers = [_layer([answer for _, answer in units]) for _, units in of_layers]
        maps = None
        if measures == "full":
            places = [(layer.name, part) for layer in network.layers for part in layer.maps]
            found = executor.map(lambda at: map_norms(job.checkpoint, at[1], protocol), places)
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
