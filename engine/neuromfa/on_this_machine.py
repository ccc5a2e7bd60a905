"""One pass over the weights of a checkpoint on the threads or the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from neuromfa.gpu import gpus_at_work
from neuromfa.measure import UnitSums, measure
from neuromfa.protocol import Protocol
from neuromfa.read_ahead import ReadAhead
from neuromfa.scheduler import Prepared, run, run_largest_first
from neuromfa.units import Unit
from neuromfa_kernels.cpu_threads import usable_threads


class _Staff(NamedTuple):
    """What measures a unit, the threads that do it, those that hash, and those that read ahead."""

    measure: Callable[..., UnitSums]
    executor: ThreadPoolExecutor
    hashing: ThreadPoolExecutor
    ahead: ReadAhead


class OnThisMachine:
    """Units measured here, and tensors hashed as soon as their layer is done.

    Parameters
    ----------
    job : Prepared
        Checkpoint, network and plan.
    staff : tuple
        Who does it.
    protocol : Protocol
        Everything that may change a number.
    factors : mapping of str to float
        By tensor, what weights are multiplied by before their distances are taken.
    """

    def __init__(
        self, job: Prepared, staff: _Staff, protocol: Protocol, factors: Mapping[str, float]
    ) -> None:
        self._job, self._staff, self._protocol = job, staff, protocol
        self._factors = factors
        self._hashes: dict[str, Future[str]] = {}

    def answers(self) -> Iterator[tuple[Unit, UnitSums]]:
        """Units with their sums, in the order of the plan."""
        work, executor = self._job.plan, self._staff.executor
        if not work.devices.gpus:
            return run(work.units, self._measure, executor, in_flight=2 * work.threads)
        costs = [unit.weight_bytes for unit in work.units]
        return run_largest_first(work.units, self._measure, executor, costs=costs)

    def finished(self, layer: int) -> None:
        """Hash the tensors of a layer, whose pages are then let go."""
        self._staff.ahead.finished(layer)
        self._hash(self._job.network.layers[layer].tensors)

    def digests(self) -> dict[str, str]:
        """Hash of every tensor."""
        self._hash(tuple(self._job.checkpoint.tensors))
        return {tensor: found.result() for tensor, found in self._hashes.items()}

    def _measure(self, unit: Unit) -> UnitSums:
        job = self._job
        self._staff.ahead.wait(unit.layer)
        layer = job.network.layers[unit.layer]
        return self._staff.measure(
            job.checkpoint, layer, unit, self._protocol, factors=self._factors
        )

    def _hash(self, tensors: tuple[str, ...]) -> None:
        for tensor in tensors:
            if tensor not in self._hashes:
                self._hashes[tensor] = self._staff.hashing.submit(self._digest, tensor)

    def _digest(self, tensor: str) -> str:
        found = self._job.checkpoint.digest(tensor)
        self._job.checkpoint.release(tensor)
        return found


@contextmanager
def on_this_machine(
    job: Prepared, protocol: Protocol, factors: Mapping[str, float]
) -> Iterator[OnThisMachine]:
    """Start threads, open GPUs, and end them in the end.

    Raises
    ------
    ResourceError
        If a GPU, or its memory, cannot be had.
    """
    executor = ThreadPoolExecutor(job.plan.threads, thread_name_prefix="neuromfa")
    try:
        with ExitStack() as stack:
            measure_unit: Callable[..., UnitSums] = measure
            hashing = executor
            if job.plan.devices.gpus:
                measure_unit = stack.enter_context(gpus_at_work(job.plan))
                hashing = stack.enter_context(ThreadPoolExecutor(usable_threads(None)))
            ahead = stack.enter_context(ReadAhead(job.checkpoint, job.network, job.plan))
            staff = _Staff(measure_unit, executor, hashing, ahead)
            yield OnThisMachine(job, staff, protocol, factors)
    finally:
        executor.shutdown(cancel_futures=True)
