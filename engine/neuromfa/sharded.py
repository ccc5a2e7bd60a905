"""Measures a sharded model: each rank counts what it holds, counts are added, then summed up.

Neighbour counts are integers, so that what the ranks add is what one process would have counted,
and the sums that follow, which every rank makes in the canonical order, have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from neuromfa.checkpoint import Checkpoint
from neuromfa.errors import NeuromfaError
from neuromfa.layers import Layer, Map
from neuromfa.measure import NONFINITE, UnitSums, find_nonfinite, sum_up
from neuromfa.protocol import Protocol
from neuromfa.scheduler import Prepared, run
from neuromfa.sharded_arrays import ShardedArrays
from neuromfa.shards import Shard
from neuromfa.units import Plan, Unit
from neuromfa_kernels import NeighbourCounts

Counted = tuple[Unit, NeighbourCounts]


def as_first(plan: Plan, store: ShardedArrays) -> Plan:
    """Cut the work into the units of the first rank, which all ranks must do in the same order."""
    gpus = {unit.layer: unit.gpu for unit in plan.units}
    cuts = np.array([(u.layer, u.start, u.stop, u.weight_bytes) for u in plan.units], np.int64)
    n = int(store.ranks.from_first(np.array([len(cuts)], np.int64))[0])
    shared = np.zeros((n, 4), np.int64)
    shared[: len(cuts)] = cuts[:n]
    units = []
    for cut in store.ranks.from_first(shared):
        layer, start, stop, weight_bytes = map(int, cut)
        units.append(Unit(layer, start, stop, weight_bytes, gpus[layer]))
    return replace(plan, units=tuple(units))


def local_job(job: Prepared, store: ShardedArrays) -> Prepared:
    """Return what this rank holds: the same layers, of the parts of their maps that lie here.

    Raises
    ------
    UnsupportedError
        On every rank, if some tensor is cut so that it has no rows.
    """
    problem = None
    layers: list[Layer] = []
    try:
        for layer in job.network.layers:
            maps = [m for part in layer.maps for m in _local_maps(part, store.shards[part.tensor])]
            layers.append(replace(layer, maps=tuple(maps)))
    except NeuromfaError as error:
        problem = error
    store.ranks.go_on(problem)
    return Prepared(
        Checkpoint(source=job.checkpoint.source, tensors=store.local.refs, store=store.local),
        replace(job.network, layers=tuple(layers)),
        as_first(job.plan, store),
    )


def _local_maps(part: Map, shard: Shard) -> Iterator[Map]:
    """Parts of a map that this rank holds and answers for, as maps of its own tensor."""
    cols = shard.columns(part.cols)
    for rows in shard.rows(part.cols, part.start, part.stop) if shard.counts else ():
        shift = rows.first // part.columns_per_neuron
        if part.neuron_axis == 0:
            shift = rows.row - part.start
        yield replace(
            part,
            start=rows.start,
            stop=rows.stop,
            cols=cols,
            first_neuron=part.first_neuron + shift,
        )


def add_over_ranks(
    units: Iterable[Counted], here: Prepared, store: ShardedArrays, protocol: Protocol
) -> Iterator[Counted]:
    """Add the counts of all ranks, unit after unit.

    Raises
    ------
    NeuromfaError
        On every rank, if one of them cannot go on, or a weight is NaN or infinite.
    """
    counted = iter(units)
    for _ in here.plan.units:
        problem: BaseException | None = None
        found: Counted | None = None
        try:
            found = next(counted)
        except BaseException as error:
            problem = error
        store.ranks.go_on(problem)
        assert found is not None
        unit, counts = found
        for array in counts:
            store.ranks.add(array)
        if counts.dropped[NONFINITE] and protocol.nonfinite == "error":
            layer = here.network.layers[unit.layer]
            starts = {name: shard.starts for name, shard in store.shards.items()}
            store.ranks.go_on(find_nonfinite(here.checkpoint, layer, starts))
        yield unit, counts


def summed(
    counted: Iterable[Counted],
    here: Prepared,
    store: ShardedArrays,
    protocol: Protocol,
    *,
    executor: Executor,
) -> Iterator[tuple[Unit, UnitSums]]:
    """Add to what was counted here what lies on the other ranks, and sum up on threads."""
    added = add_over_ranks(counted, here, store, protocol)
    threads = here.plan.threads
    for (unit, _), sums in run(
        added, lambda some: sum_up(some[1], protocol), executor, in_flight=threads
    ):
        yield unit, sums


class SharedHashes:
    """Hashes of whole tensors, to which every rank gives the bytes that it holds."""

    def __init__(self, checkpoint: Checkpoint, store: ShardedArrays) -> None:
        self._checkpoint, self._ranks = checkpoint, store.ranks

    def start(self, tensors: Iterable[str]) -> None:
        """Nothing: ranks can only do it together, in the end."""

    def digests(self) -> dict[str, str]:
        """Hash of every tensor of the checkpoint."""
        found = {}
        for tensor in self._checkpoint.tensors:
            self._ranks.go_on()
            found[tensor] = self._checkpoint.digest(tensor)
        return found
