"""The lanes of the GPUs of a plan: who takes which unit, and threads that wait for them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from neuromfa.errors import ResourceError
from neuromfa.gpu import Gpu
from neuromfa.units import Plan, Unit
from neuromfa_kernels.cuda_driver import Driver


def open_lane(gpu: int, chunk_bytes: int) -> Gpu:
    """Open a lane of a GPU.

    Raises
    ------
    ResourceError
        If the GPU, or its memory, cannot be had.
    """
    try:
        return Gpu(Driver(gpu).lane(), chunk_bytes)
    except (MemoryError, RuntimeError) as error:
        raise ResourceError(f"device cuda:{gpu}: {error}") from error


class Lanes(Executor):
    """A thread for each lane; work waits for a lane of the GPU that holds its weights, or any."""

    def __init__(self, plan: Plan) -> None:
        gpus = plan.devices.gpus
        self._opened: list[Gpu] = []
        self._free: defaultdict[int | None, SimpleQueue[Gpu]] = defaultdict(SimpleQueue)
        tied = any(unit.gpu is not None for unit in plan.units)
        lanes: Counter[int | None] = Counter()
        try:
            for number in range(plan.threads):
                gpu = gpus[number % len(gpus)]
                self._opened.append(open_lane(gpu, plan.chunk_bytes))
                self._free[gpu if tied else None].put(self._opened[-1])
                lanes[gpu if tied else None] += 1
        except ResourceError:
            self._close()
            raise
        self._pools = {
            gpu: ThreadPoolExecutor(n, thread_name_prefix="neuromfa") for gpu, n in lanes.items()
        }

    @contextmanager
    def lane(self, unit: Unit) -> Iterator[Gpu]:
        """Take a lane that may do a unit."""
        lane = self._free[unit.gpu].get()
        try:
            yield lane
        finally:
            self._free[unit.gpu].put(lane)

    def submit(self, work: Callable[..., Any], /, *args: Any, **settings: Any) -> Future[Any]:
        """Do work on a unit, the first argument."""
        unit: Unit = args[0]
        return self._pools[unit.gpu].submit(work, *args, **settings)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  (as in the library)
        """End the threads, then the lanes."""
        for waiting in (False, wait):
            for pool in self._pools.values():
                pool.shutdown(waiting, cancel_futures=cancel_futures)
        self._close()

    def _close(self) -> None:
        for lane in self._opened:
            lane.close()


@contextmanager
def gpus_at_work(plan: Plan) -> Iterator[Lanes]:
    """Open the lanes of a plan's GPUs; work that was not begun in the end is cancelled.

    Raises
    ------
    ResourceError
        If a GPU, or its memory, cannot be had.
    """
    lanes = Lanes(plan)
    try:
        yield lanes
    finally:
        lanes.shutdown(cancel_futures=True)
