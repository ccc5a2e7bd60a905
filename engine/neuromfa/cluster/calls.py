"""Calls on portions of a checkpoint: made on an executor, again where a worker is lost."""

from __future__ import annotations

import os
import socket
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from queue import SimpleQueue
from typing import Any, NamedTuple

from neuromfa.checkpoint import Checkpoint
from neuromfa.cluster.portion import Portion, Portions
from neuromfa.errors import BadInputError, ResourceError, UnsupportedError, UsageError
from neuromfa.gpu_plan import largest_first
from neuromfa.provenance import versions
from neuromfa.scheduler import run

ATTEMPTS = 3
"""Times that a call is handed out before it is given up; a Dask scheduler tries each several
times itself, on other workers."""
IN_FLIGHT = 1024
"""Most calls handed out at a time: many for each worker, few for the scheduler."""
SAME_EVERYWHERE = ("neuromfa", "numpy", "numba")
"""Packages that could change a bit."""

Versions = dict[str, str | None]
Work = Callable[[Checkpoint], Any]


class Call(NamedTuple):
    """A function of an open checkpoint, to be called elsewhere.

    Attributes
    ----------
    work : callable
        A function of a module, which a worker can import, with all but the checkpoint bound by
        `functools.partial`: small things, no weights.
    tensors : tuple of str
        What it may read.
    cost : int
        In bytes of weights.
    """

    work: Work
    tensors: tuple[str, ...]
    cost: int


class Reply(NamedTuple):
    """What comes back: the answer, and who gave it."""

    answer: Any
    worker: str


@cache
def software() -> Versions:
    """Versions that all workers must share with the coordinator."""
    return versions(SAME_EVERYWHERE)


def on_worker(portion: Portion, work: Work, expected: Versions, _: int) -> Reply:
    """Open a portion, call a function on it, close it.

    The number of the attempt makes every submission another one for schedulers that remember.
    Nothing is kept between calls: opening reads no header, and the system keeps pages anyway.

    Raises
    ------
    UsageError
        If this worker has other software than the coordinator.
    BadInputError
        If it sees another file.
    """
    host = socket.gethostname()
    for package, wanted in expected.items():
        if (found := software()[package]) != wanted:
            raise UsageError(
                f"worker on {host}: has {package} {found}, and the analysis was started with "
                f"{wanted}; install the same everywhere"
            )
    with portion.open() as checkpoint:
        answer = work(checkpoint)
    return Reply(answer, f"{host}/{os.getpid()}/{threading.get_ident()}")


class Cluster:
    """Makes calls on one checkpoint through an executor, and gives the answers in order.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Any: of a Dask client, of MPI, or threads or processes of this machine. It stays open.
    checkpoint : Checkpoint
        Its files are to be where the workers see them too.

    Attributes
    ----------
    workers : set of str
        Threads that have given answers so far.

    Raises
    ------
    UsageError
        If the weights are in memory.
    """

    def __init__(self, executor: Executor, checkpoint: Checkpoint) -> None:
        self._executor = executor
        self._portions = Portions(checkpoint)
        self.workers: set[str] = set()

    def answers(self, calls: Sequence[Call]) -> Iterator[Any]:
        """Make all calls; in the order of the calls, whatever the order of completion.

        A call whose worker was lost, or failed for want of anything, is handed out again at once.

        Yields
        ------
        object
            What a call returned.

        Raises
        ------
        NeuromfaError
            The first in order of completion. What a second try cannot change (files, protocol)
            is raised as it is; what failed `ATTEMPTS` times is a `ResourceError` that names the
            tensor. What had not started is cancelled.
        """
        ended: SimpleQueue[tuple[int, int, Future[Reply]]] = SimpleQueue()
        waiting = iter(in_tail_largest_first([call.cost for call in calls]))
        under_way: dict[int, Future[Reply]] = {}
        found: dict[int, Any] = {}

        def hand_out(k: int, attempt: int) -> None:
            work, portion = calls[k].work, self._portions.of(calls[k].tensors)
            try:
                future = self._executor.submit(on_worker, portion, work, software(), attempt)
            except Exception as error:
                future = Future()
                future.set_exception(error)
            under_way[k] = future
            future.add_done_callback(lambda done: ended.put((k, attempt, done)))

        try:
            for wanted in range(len(calls)):
                while wanted not in found:
                    while len(under_way) < IN_FLIGHT and (k := next(waiting, None)) is not None:
                        hand_out(k, 1)
                    k, attempt, done = ended.get()
                    del under_way[k]
                    if (reply := self._reply(calls[k], attempt, done)) is None:
                        hand_out(k, attempt + 1)
                    else:
                        self.workers.add(reply.worker)
                        found[k] = reply.answer
                yield found.pop(wanted)
        finally:
            for future in under_way.values():
                future.cancel()

    def _reply(self, call: Call, attempt: int, done: Future[Reply]) -> Reply | None:
        """What a call gave; None if it is worth another try."""
        try:
            return done.result()
        except (UsageError, UnsupportedError, BadInputError):
            raise
        except Exception as error:  # of whatever executor: each has its own for lost workers
            if attempt < ATTEMPTS:
                return None
            first, *others = call.tensors
            rest = f" and {len(others)} more" * bool(others)
            raise ResourceError(
                f"{self._portions.source}: tensor {first}{rest}: given up after {attempt} tries on "
                f"the cluster, the last of which ended with {type(error).__name__}: {error}; see "
                "the logs of its workers, which may have too little memory"
            ) from error


def make_calls(
    checkpoint: Checkpoint, calls: Sequence[Call], *, threads: int, cluster: Cluster | None
) -> Iterator[Any]:
    """Make calls on a cluster, or on threads of this machine if there is none; answers in order."""
    if cluster is not None:
        yield from cluster.answers(calls)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="neuromfa") as executor:
        here = run(calls, lambda call: call.work(checkpoint), executor, in_flight=2 * threads)
        for _, answer in here:
            yield answer


def in_tail_largest_first(costs: Sequence[int]) -> list[int]:
    """Order in which calls are handed out: the first half of the work as it comes, then largest.

    As it comes, so that layers are complete early and a run that fails leaves many; then the
    largest first, so that workers end together.
    """
    done = [0, *accumulate(costs)]
    half = bisect_left(done, done[-1] / 2)
    return [*range(half), *(half + k for k in largest_first(costs[half:]))]
