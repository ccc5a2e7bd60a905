"""Calls on portions of a checkpoint: made on an executor, again where a worker is lost."""

from __future__ import annotations

import os
import socket
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from queue import Empty, SimpleQueue
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
"""Most bundles handed out at a time: many for each worker, few for the scheduler."""
BUNDLE_BYTES, BUNDLE_CALLS = 32 << 20, 8
"""Calls that take less time than handing them over are handed over together."""
PULSE = 1.0
"""Seconds between looks at whether there still is a cluster."""
NOBODY = 600.0
"""Seconds without an answer after which a cluster without workers is given up."""
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
    """What comes back: the answer to each call of a bundle, and who gave it."""

    answers: list[Any]
    worker: str


@cache
def software() -> Versions:
    """Versions that all workers must share with the coordinator."""
    return versions(SAME_EVERYWHERE)


def on_worker(bundle: Sequence[tuple[Portion, Work]], expected: Versions, _: int) -> Reply:
    """Open each portion, call its function on it, close it.

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
    answers = []
    for portion, work in bundle:
        with portion.open() as checkpoint:
            answers.append(work(checkpoint))
    return Reply(answers, f"{host}/{os.getpid()}/{threading.get_ident()}")


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

    def answers(self, calls: Sequence[Call]) -> Generator[Any]:
        """Make all calls; in the order of the calls, whatever the order of completion.

        A call whose worker was lost, or failed for want of anything, is handed out again at once,
        and the last time alone: what kills a worker takes with it what waits there.

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
        ended: SimpleQueue[_Ended] = SimpleQueue()
        waiting = iter(bundles([call.cost for call in calls]))
        under_way: dict[_Bundle, Future[Reply]] = {}
        suspects: deque[_Bundle] = deque()
        found: dict[int, Any] = {}

        def hand_out(bundle: _Bundle) -> None:
            work = [(self._portions.of(calls[k].tensors), calls[k].work) for k in bundle.calls]
            try:
                future = self._executor.submit(on_worker, work, software(), bundle.attempt)
            except Exception as error:  # an executor that is broken or closed
                future = Future()
                future.set_exception(error)
            under_way[bundle] = future
            future.add_done_callback(lambda done: ended.put((bundle, done)))

        try:
            for wanted in range(len(calls)):
                while wanted not in found:
                    while not suspects and len(under_way) < IN_FLIGHT:
                        if (more := next(waiting, None)) is None:
                            break
                        hand_out(_Bundle(more, 1))
                    if suspects and not under_way:
                        hand_out(suspects.popleft())
                    bundle, done = self._next(ended)
                    del under_way[bundle]
                    if reply := self._reply(calls, bundle, done):
                        self.workers.add(reply.worker)
                        found |= zip(bundle.calls, reply.answers, strict=True)
                        continue
                    for k in bundle.calls:  # one by one, to see which it was
                        again = _Bundle((k,), bundle.attempt + 1)
                        if again.attempt == ATTEMPTS:
                            suspects.append(again)
                        else:
                            hand_out(again)
                yield found.pop(wanted)
        finally:
            for future in under_way.values():
                future.cancel()

    def _next(self, ended: SimpleQueue[_Ended]) -> _Ended:
        """Wait for a bundle, as long as there is somebody to wait for."""
        since = time.monotonic()
        while True:
            try:
                return ended.get(timeout=PULSE)
            except Empty:
                self._look(time.monotonic() - since)

    def _look(self, waited: float) -> None:
        """See whether a Dask client still has a cluster: its futures never end if it has not."""
        if (client := getattr(self._executor, "_client", None)) is None:
            return
        lost = client.status in ("closing", "closed")
        if lost or (waited > NOBODY and not client.nthreads()):
            what = (
                "the connection to the cluster is lost"
                if lost
                else (f"the cluster has had no workers for {waited:.0f} seconds")
            )
            raise ResourceError(
                f"{self._portions.source}: {what}; see the logs of its scheduler and workers, then "
                "start again"
            )

    def _reply(self, calls: Sequence[Call], bundle: _Bundle, done: Future[Reply]) -> Reply | None:
        """What a bundle gave; None if it is worth another try."""
        try:
            return done.result()
        except (UsageError, UnsupportedError, BadInputError):
            raise
        except Exception as error:  # of whatever executor: each has its own for lost workers
            self._look(0)
            if bundle.attempt < ATTEMPTS:
                return None
            first, *others = calls[bundle.calls[0]].tensors
            rest = f" and {len(others)} more" * bool(others)
            raise ResourceError(
                f"{self._portions.source}: tensor {first}{rest}: given up after {ATTEMPTS} tries "
                f"on the cluster, the last of which ended with {type(error).__name__}: {error}; "
                "see the logs of its workers, which may have too little memory"
            ) from error


class _Bundle(NamedTuple):
    """Calls that are handed out together, and for which time."""

    calls: tuple[int, ...]
    attempt: int


_Ended = tuple[_Bundle, Future[Reply]]


def bundles(costs: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Calls to hand out together, by number, in the order of `in_tail_largest_first`."""
    bundle: list[int] = []
    size = 0
    for k in in_tail_largest_first(costs):
        if bundle and (size + costs[k] > BUNDLE_BYTES or len(bundle) == BUNDLE_CALLS):
            yield tuple(bundle)
            bundle, size = [], 0
        bundle.append(k)
        size += costs[k]
    if bundle:
        yield tuple(bundle)


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
