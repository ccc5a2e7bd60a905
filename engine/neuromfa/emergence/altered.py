"""Exponents of a checkpoint whose weights are rescaled or drawn anew, in one walk over its layers.

A weight is never changed: rescaling is a factor in the radius tables, shuffling a draw from
counts. Memory holds the sums of one layer at a time, of the running groups, and of no neuron.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuromfa.emergence.running import RunningGroups
from neuromfa.emergence.surrogates import (
    Piece,
    Stream,
    deal,
    gaussian_counts,
    normal_shares,
    pieces_of,
    shuffled_counts,
)
from neuromfa.errors import UsageError
from neuromfa.measure import add_tiles, count
from neuromfa.multifractal import Float64, Int64, moments
from neuromfa.network import Layer
from neuromfa.protocol import Protocol
from neuromfa.provenance import content_hash
from neuromfa.scale import TensorScale, relative_factors, tensor_scale
from neuromfa.scheduler import Prepared, prepare, run
from neuromfa.units import Unit
from neuromfa_kernels import TILE, TileSums, count_neighbours, partition_function, radius_table

if TYPE_CHECKING:
    from neuromfa.scheduler import Source


KEPT = 1024
"""Tensors and replicates whose dealt pools are kept: bounds memory, changes no bit."""


class Alteration(NamedTuple):
    """What is done to the weights: "value" for nothing, a control, or a null model."""

    name: str
    replicate: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A checkpoint and its baseline, and what one look at every tensor tells.

    Attributes
    ----------
    job, base : Prepared
        Both, opened.
    scales, baseline_scales : mapping of str to TensorScale
        By tensor.
    pools : mapping of str to int64 array, shape (n_radii + 1,)
        By tensor of the checkpoint, weights at each radius; last, those at none.
    digests : mapping of str to str
        Of the checkpoint's tensors.
    content_hash, baseline_content_hash : str
        Identities.
    """

    job: Prepared
    base: Prepared
    scales: Mapping[str, TensorScale]
    baseline_scales: Mapping[str, TensorScale]
    pools: Mapping[str, Int64]
    digests: Mapping[str, str]
    content_hash: str
    baseline_content_hash: str


@contextmanager
def open_pair(
    source: Source, baseline: Source, protocol: Protocol, opening: Mapping[str, Any]
) -> Iterator[Pair]:
    """Open both checkpoints, check that they are of one model, and measure every tensor."""
    with (
        prepare(source, protocol, **opening) as job,
        prepare(baseline, protocol, **opening) as base,
    ):
        _check_same_model(job, base)
        with ThreadPoolExecutor(job.plan.threads, thread_name_prefix="neuromfa") as executor:
            layers = {tensor: layer for layer in job.network.layers for tensor in layer.tensors}
            firsts = executor.map(
                lambda t: tensor_scale(base.checkpoint, t, layers[t], protocol), layers
            )
            looks = executor.map(lambda t: _look(job, t, layers[t], protocol), layers)
            hashes = [
                dict(zip(c.tensors, executor.map(c.digest, c.tensors), strict=True))
                for c in (job.checkpoint, base.checkpoint)
            ]
            baseline_scales = dict(zip(layers, firsts, strict=True))
            found = dict(zip(layers, looks, strict=True))
        yield Pair(
            job=job,
            base=base,
            scales={tensor: scale for tensor, (scale, _) in found.items()},
            baseline_scales=baseline_scales,
            pools={tensor: pool for tensor, (_, pool) in found.items()},
            digests=hashes[0],
            content_hash=content_hash(job.checkpoint, hashes[0]),
            baseline_content_hash=content_hash(base.checkpoint, hashes[1]),
        )


def _check_same_model(job: Prepared, base: Prepared) -> None:
    mine, other = ({layer.name: layer for layer in p.network.layers} for p in (job, base))
    different = [name for name in mine | other if mine.get(name) != other.get(name)]
    if different:
        raise UsageError(
            f"{job.checkpoint.source} and its baseline {base.checkpoint.source}: layer "
            f"{different[0]} is not the same in both; controls need two checkpoints of one model"
        )


def _look(
    job: Prepared, tensor: str, layer: Layer, protocol: Protocol
) -> tuple[TensorScale, Int64]:
    """Size of a tensor's weights, and how many of them are at each radius."""
    checkpoint = job.checkpoint
    scale = tensor_scale(checkpoint, tensor, layer, protocol)
    factor = relative_factors({tensor: scale}, protocol)[tensor]
    pool = np.zeros(protocol.n_radii + 1, np.int64)
    for part in (m for x in job.network.layers for m in x.maps if m.tensor == tensor):
        weights = checkpoint.read(tensor, part.start, part.stop, cols=part.cols)
        table = radius_table(weights.dtype, protocol.cutoff, factor)
        counts = count_neighbours(weights, table, neuron_axis=1, threads=1).counts
        pool[:-1] += counts.sum(axis=1, dtype=np.int64)
        pool[-1] += part.weights
    pool[-1] -= pool[:-1].sum()
    return scale, pool


def altered_exponents(
    pair: Pair, protocol: Protocol, alterations: Sequence[Alteration], seed: int
) -> dict[tuple[str, str], dict[Alteration, dict[str, Any]]]:
    """Exponents of every group under every alteration.

    Parameters
    ----------
    pair : Pair
        From `open_pair`.
    protocol : Protocol
        As for the analyses that these are controls of.
    alterations : sequence of Alteration
        What to do to the weights.
    seed : int
        Of the null models.

    Returns
    -------
    dict
        By kind and name of the group, then by alteration: ``alpha_0``, ``width``, ``undefined``.
    """
    weights, plan = _Weights(pair, protocol, seed), pair.job.plan
    layers = pair.job.network.layers
    units = [list(own) for _, own in groupby(plan.units, key=lambda unit: unit.layer)]
    tasks = (
        (unit, alteration) for of_layer in units for alteration in alterations for unit in of_layer
    )
    running = {alteration: RunningGroups(protocol) for alteration in alterations}
    with ThreadPoolExecutor(plan.threads, thread_name_prefix="neuromfa") as executor:
        answers = run(tasks, weights.sums, executor, in_flight=2 * plan.threads)
        for layer, of_layer in zip(layers, units, strict=True):
            for alteration in alterations:
                tiles = (sums for _, sums in islice(answers, len(of_layer)))
                running[alteration].add(layer, add_tiles(tiles, protocol))
    found: dict[tuple[str, str], dict[Alteration, dict[str, Any]]] = {}
    for alteration, groups in running.items():
        for group, exponents in groups.finish().items():
            found.setdefault(group, {})[alteration] = exponents
    return found


class _Weights:
    """Gives the partition functions of a unit under an alteration."""

    def __init__(self, pair: Pair, protocol: Protocol, seed: int) -> None:
        self._pair, self._protocol, self._seed = pair, protocol, seed
        self._factors = _factors(pair, protocol)
        self._pieces = pieces_of(pair.job.network)
        self._shares: dict[str, Float64] = {
            tensor: normal_shares(
                scale.mean,
                scale.sd,
                cutoff=protocol.cutoff,
                factor=self._factors["value"][tensor],
            )
            for tensor, scale in pair.scales.items()
        }
        self._deal = lru_cache(KEPT)(self._deal_out)

    def sums(self, task: tuple[Unit, Alteration]) -> TileSums:
        """Partition functions of each tile of a unit."""
        unit, alteration = task
        if alteration.name in self._factors:
            prepared = self._pair.base if alteration.name == "scale" else self._pair.job
            counts = count(
                prepared.checkpoint,
                prepared.network.layers[unit.layer],
                unit,
                self._protocol,
                factors=self._factors[alteration.name],
            ).counts
        else:
            counts = self._draw(unit, alteration)
        few = self._protocol.min_neighbours
        return partition_function(counts, moments(self._protocol), min_neighbours=few, threads=1)

    def _draw(self, unit: Unit, alteration: Alteration) -> Any:
        counts = np.zeros((unit.stop - unit.start, self._protocol.n_radii), np.uint32).T
        for tensor in self._pair.job.network.layers[unit.layer].tensors:
            digest = self._pair.digests[tensor]
            stream = Stream(self._seed, *alteration, tensor, digest)
            for piece in self._pieces[tensor]:
                if piece.layer != unit.layer or not unit.start <= piece.tile * TILE < unit.stop:
                    continue
                if alteration.name == "gaussian":
                    drawn = gaussian_counts(self._shares[tensor], piece, stream)
                else:
                    drawn = shuffled_counts(self._deal(stream)[piece], piece, stream)
                mine = slice(piece.first - unit.start, piece.stop - unit.start)
                counts[:, mine] += drawn.astype(np.uint32)
        return counts

    def _deal_out(self, stream: Stream) -> dict[Piece, Int64]:
        """What each piece of a tensor gets; asked for again by the next unit of the layer."""
        return deal(self._pair.pools[stream.tensor], self._pieces[stream.tensor], stream)


def _factors(pair: Pair, protocol: Protocol) -> dict[str, dict[str, float]]:
    """By alteration and tensor, what the stored weights are multiplied by.

    Relative distances do not see a rescaling, and so take none.
    """
    own, first = pair.scales, pair.baseline_scales
    value, scale = relative_factors(own, protocol), relative_factors(first, protocol)
    if protocol.distance == "relative":
        return {"value": value, "scale_free": value, "scale": scale}
    return {
        "value": value,
        "scale_free": {t: _ratio(first[t].rms, own[t].rms) for t in own},
        "scale": {t: _ratio(own[t].rms, first[t].rms) for t in own},
    }


def _ratio(wanted: float, found: float) -> float:
    """Factor from one root mean square to another; zeros remain zeros."""
    return wanted / found if found else 1.0
