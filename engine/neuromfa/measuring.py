"""One pass over the weights: where each unit is measured, and when each tensor is hashed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol as Interface

from neuromfa.checkpoint import Checkpoint
from neuromfa.cluster.calls import Cluster
from neuromfa.cluster.on_cluster import OnCluster
from neuromfa.lanes import Lanes, gpus_at_work
from neuromfa.measure import UnitSums, count, measure
from neuromfa.protocol import Protocol
from neuromfa.read_ahead import ReadAhead
from neuromfa.scheduler import Prepared, run, run_largest_first
from neuromfa.sharded import SharedHashes, local_job, summed
from neuromfa.sharded_arrays import ShardedArrays
from neuromfa.units import Unit
from neuromfa_kernels import NeighbourCounts
from neuromfa_kernels.cpu_threads import usable_threads


class Hashing(Interface):
    """Hashes of all tensors of a checkpoint."""

    def start(self, tensors: Iterable[str]) -> None:
        """Hash tensors that nobody will read again."""

    def digests(self) -> dict[str, str]:
        """Hash of every tensor."""


class Hashes:
    """Hashes made on threads, as soon as a tensor's layer is done; its pages are let go.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where the tensors are.
    executor : Executor
        The threads.
    """

    def __init__(self, checkpoint: Checkpoint, executor: Executor) -> None:
        self._checkpoint, self._executor = checkpoint, executor
        self._found: dict[str, Future[str]] = {}

    def start(self, tensors: Iterable[str]) -> None:
        """Hash tensors that nobody will read again."""
        for tensor in tensors:
            if tensor not in self._found:
                self._found[tensor] = self._executor.submit(self._digest, tensor)

    def digests(self) -> dict[str, str]:
        """Hash of every tensor of the checkpoint."""
        self.start(self._checkpoint.tensors)
        return {tensor: found.result() for tensor, found in self._found.items()}

    def _digest(self, tensor: str) -> str:
        found = self._checkpoint.digest(tensor)
        self._checkpoint.release(tensor)
        return found


@dataclass(frozen=True, slots=True)
class Pass:
    """What is under way.

    Attributes
    ----------
    answers : iterator of (Unit, UnitSums)
        In the order of the units.
    hashing : Hashing
        Of the tensors.
    """

    answers: Iterator[tuple[Unit, UnitSums]]
    hashing: Hashing


@contextmanager
def measuring(
    job: Prepared,
    protocol: Protocol,
    factors: Mapping[str, float],
    cluster: Cluster | None = None,
) -> Iterator[Pass]:
    """Measure all units of a plan: on a cluster, where their weights lie, or where the plan says.

    In the end, also by an exception, what was not begun is cancelled, and all threads have ended.

    Parameters
    ----------
    job : Prepared
        Checkpoint, network and plan.
    protocol : Protocol
        Everything that may change a number.
    factors : mapping of str to float
        By tensor, what weights are multiplied by before their distances are taken.
    cluster : Cluster, optional
        Workers that do it instead of this machine.
    """
    if cluster is not None:
        with OnCluster(job, cluster, protocol, factors) as there:
            yield Pass(there.answers(), there)
        return
    store = job.checkpoint.store
    with ExitStack() as stack:
        if isinstance(store, ShardedArrays):
            yield stack.enter_context(_over_ranks(job, protocol, store))
            return
        ahead = stack.enter_context(ReadAhead(job.checkpoint, job.network, job.plan))
        if job.plan.devices.gpus:
            hashing = stack.enter_context(_threads(usable_threads(None)))
            lanes = stack.enter_context(gpus_at_work(job.plan))
            answers = _on_gpus(job, protocol, factors, lanes)
        else:
            hashing = stack.enter_context(_threads(job.plan.threads))
            answers = _on_cpu(job, protocol, factors, hashing, ahead=ahead)
        yield Pass(answers, Hashes(job.checkpoint, hashing))


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(number, thread_name_prefix="neuromfa")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _on_cpu(
    job: Prepared,
    protocol: Protocol,
    factors: Mapping[str, float],
    executor: Executor,
    *,
    ahead: ReadAhead,
) -> Iterator[tuple[Unit, UnitSums]]:
    layers = job.network.layers

    def work(unit: Unit) -> UnitSums:
        ahead.wait(unit.layer)
        return measure(job.checkpoint, layers[unit.layer], unit, protocol, factors=factors)

    for unit, sums in run(job.plan.units, work, executor, in_flight=2 * job.plan.threads):
        yield unit, sums
        if unit.stop == layers[unit.layer].neurons:
            ahead.finished(unit.layer)


def _on_gpus(
    job: Prepared, protocol: Protocol, factors: Mapping[str, float], lanes: Lanes
) -> Iterator[tuple[Unit, UnitSums]]:
    def work(unit: Unit) -> UnitSums:
        layer = job.network.layers[unit.layer]
        with lanes.lane(unit) as lane:
            return lane.measure(job.checkpoint, layer, unit, protocol, factors=factors)

    costs = [unit.weight_bytes for unit in job.plan.units]
    return run_largest_first(job.plan.units, work, lanes, costs=costs)


@contextmanager
def _over_ranks(job: Prepared, protocol: Protocol, store: ShardedArrays) -> Iterator[Pass]:
    """What lies here is counted on this rank's device, sums are made on its processors."""
    here = local_job(job, store)
    threads = here.plan.threads
    every = replace(protocol, nonfinite="drop")  # counted all the same; the ranks refuse together
    with ExitStack() as stack:
        executor = stack.enter_context(_threads(usable_threads(None)))
        lanes = stack.enter_context(gpus_at_work(here.plan)) if here.plan.devices.gpus else None

        def work(unit: Unit) -> NeighbourCounts:
            layer = here.network.layers[unit.layer]
            if lanes is None:
                return count(here.checkpoint, layer, unit, every)
            with lanes.lane(unit) as lane:
                return lane.count(here.checkpoint, layer, unit, every)

        counted = run(here.plan.units, work, lanes or executor, in_flight=threads)
        answers = summed(counted, here, store, protocol, executor=executor)
        yield Pass(answers, SharedHashes(job.checkpoint, store))
        store.ranks.end()
