"""Null models drawn from counts: what a network would be if its weights had no places.

A random permutation of a tensor's weights gives each neuron a draw without replacement from the
tensor's pooled counts. It is made in two steps that each are exact: the pool is dealt out to
pieces (the neurons that a map has in one tile), then each piece to its neurons. So a piece needs
no other, and its random numbers depend on the tensor's name and content, the replicate and the
piece, never on threads or on the order of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import xxhash

from neuromfa.errors import UnsupportedError
from neuromfa.multifractal import Float64, Int64
from neuromfa.network import Layer, Network
from neuromfa_kernels import TILE

LARGEST_POOL = 10**9
"""NumPy draws from smaller populations only."""
MOST_PERMUTED = 1024
"""Weights of a neuron up to which permuting them is faster than drawing how many have a radius;
either way the counts have the same distribution."""


class Piece(NamedTuple):
    """The neurons that one map has in one tile of its layer.

    Attributes
    ----------
    layer, part, tile : int
        Index of the layer in the network, of the map in the layer, of the tile in the layer.
    first, stop : int
        Neurons of the layer.
    edges : int
        Weights that each of them has in this map.
    """

    layer: int
    part: int
    tile: int
    first: int
    stop: int
    edges: int

    @property
    def weights(self) -> int:
        """Weights of all its neurons."""
        return (self.stop - self.first) * self.edges


class Stream(NamedTuple):
    """What a sequence of random numbers is made from; equal streams give equal numbers."""

    seed: int
    model: str
    replicate: int
    tensor: str
    digest: str

    def generator(self, *place: int) -> np.random.Generator:
        """Random numbers for one place in the tensor."""
        text = "\n".join([*map(str, self), *map(str, place)])
        words = xxhash.xxh3_128(text.encode()).intdigest()
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def pieces_of(network: Network) -> dict[str, list[Piece]]:
    """Pieces of every tensor, in the order of layers, maps and tiles."""
    found: dict[str, list[Piece]] = {}
    for index, layer in enumerate(network.layers):
        for tensor, piece in _pieces(index, layer):
            found.setdefault(tensor, []).append(piece)
    return found


def _pieces(index: int, layer: Layer) -> Iterator[tuple[str, Piece]]:
    for number, part in enumerate(layer.maps):
        end, edges = part.first_neuron + part.neurons, part.weights // part.neurons
        for tile in range(part.first_neuron // TILE, -(-end // TILE)):
            first, stop = max(part.first_neuron, tile * TILE), min(end, (tile + 1) * TILE)
            yield part.tensor, Piece(index, number, tile, first, stop, edges)


def deal(pool: Int64, pieces: Iterable[Piece], stream: Stream) -> dict[Piece, Int64]:
    """Deal the weights of a tensor out to its pieces, as a random permutation would.

    Parameters
    ----------
    pool : int64 array, shape (n_radii + 1,)
        Weights of the tensor at each radius; last, those at none.
    pieces : iterable of Piece
        All of the tensor.
    stream : Stream
        Where the random numbers come from.

    Returns
    -------
    dict of Piece to int64 array, shape (n_radii + 1,)
        Multivariate hypergeometric draws that add up to the pool.

    Raises
    ------
    UnsupportedError
        If the tensor has too many weights to draw from.
    """
    if pool.sum() >= LARGEST_POOL:
        raise UnsupportedError(
            f"tensor {stream.tensor}: has {int(pool.sum()):,} weights; null models shuffle tensors "
            f"of fewer than {LARGEST_POOL:,}: leave it out, or ask for no replicates"
        )
    generator, left, dealt = stream.generator(), pool.copy(), {}
    for piece in pieces:
        dealt[piece] = generator.multivariate_hypergeometric(
            left, piece.weights, method="marginals"
        )
        left -= dealt[piece]
    return dealt


def shuffled_counts(pool: Int64, piece: Piece, stream: Stream) -> Int64:
    """Counts of a piece's neurons when its weights are permuted.

    Parameters
    ----------
    pool : int64 array, shape (n_radii + 1,)
        What was dealt to the piece.
    piece : Piece
        Its neurons, all with the same number of weights.
    stream : Stream
        Where the random numbers come from.

    Returns
    -------
    int64 array, shape (n_radii, n_neurons)
        Their sums over neurons are the pool; each neuron's are a multivariate hypergeometric draw.
    """
    generator = stream.generator(piece.layer, piece.part, piece.tile)
    neurons = piece.stop - piece.first
    if piece.edges <= MOST_PERMUTED:
        places = np.repeat(np.arange(len(pool)), pool)
        generator.shuffle(places)
        own = len(pool) * np.repeat(np.arange(neurons), piece.edges)
        found = np.bincount(places + own, minlength=neurons * len(pool))
        return found.reshape(neurons, len(pool))[:, :-1].T
    counts = np.zeros((len(pool) - 1, neurons), np.int64)
    free = np.full(neurons, piece.edges)
    for radius in np.flatnonzero(pool[:-1]):
        counts[radius] = generator.multivariate_hypergeometric(
            free, pool[radius], method="marginals"
        )
        free -= counts[radius]
    return counts


def gaussian_counts(shares: Float64, piece: Piece, stream: Stream) -> Int64:
    """Counts of a piece's neurons when its weights are independent draws.

    Parameters
    ----------
    shares : float64 array, shape (n_radii + 1,)
        Probability of each radius; last, of none.
    piece : Piece
        Its neurons, all with the same number of weights.
    stream : Stream
        Where the random numbers come from.

    Returns
    -------
    int64 array, shape (n_radii, n_neurons)
        Multinomial draws.
    """
    generator = stream.generator(piece.layer, piece.part, piece.tile)
    drawn: Int64 = generator.multinomial(piece.edges, shares, size=piece.stop - piece.first)
    return drawn[:, :-1].T


def normal_shares(mean: float, sd: float, *, cutoff: float, factor: float) -> Float64:
    """Probability of each radius for a normal weight.

    Parameters
    ----------
    mean, sd : float
        Of the stored weights, dimensionless.
    cutoff : float
        Largest distance that counts.
    factor : float
        Multiplies the weights before their distances are taken.

    Returns
    -------
    float64 array, shape (n_radii + 1,)
        Last, the probability of no radius; they add up to 1.
    """
    n_radii = round(cutoff)
    longest = np.minimum(np.arange(1, n_radii + 1) + 0.5, cutoff)
    shortest = np.maximum(np.arange(1, n_radii + 1) - 0.5, 1.0)
    low, high = 1.0 / longest / factor, 1.0 / shortest / factor
    if sd == 0:
        inside = ((low <= abs(mean)) & (abs(mean) < high)).astype(np.float64)
    else:
        normal = NormalDist(mean, sd)
        inside = np.array(
            [
                (normal.cdf(b) - normal.cdf(a)) + (normal.cdf(-a) - normal.cdf(-b))
                for a, b in zip(low.tolist(), high.tolist(), strict=True)
            ]
        )
    inside = np.maximum(inside, 0.0)
    return np.append(inside, max(0.0, 1.0 - inside.sum()))
