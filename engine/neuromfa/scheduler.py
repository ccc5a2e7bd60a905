"""Prepares an analysis from headers alone, and runs its units on executors, answers in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neuromfa.architectures import load_registry
from neuromfa.checkpoint import Checkpoint, open_checkpoint
from neuromfa.devices import (
    WORKER_DEVICE_MEMORY,
    find_devices,
    smallest_free_memory,
    where_weights_lie,
    worker_devices,
)
from neuromfa.errors import UnsupportedError, UsageError
from neuromfa.gpu_plan import largest_first
from neuromfa.network import Network, classify
from neuromfa.protocol import Protocol
from neuromfa.sharded_arrays import ShardedArrays
from neuromfa.units import DEFAULT_MEMORY, Plan, plan, plan_for_gpus
from neuromfa_kernels import DTYPES

if TYPE_CHECKING:
    import torch

    Source = str | os.PathLike[str] | Mapping[str, Any] | torch.nn.Module | Checkpoint

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checkpoint whose headers were read, and what is to be done with it."""

    checkpoint: Checkpoint
    network: Network
    plan: Plan


@contextmanager
def prepare(  # noqa: PLR0913  (those of `neuromfa.analyse`)
    source: Source,
    protocol: Protocol,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    architectures: str | os.PathLike[str] | None = None,
    strict: bool = False,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    device: str | None = None,
    device_memory: int | None = None,
    executor: Executor | None = None,
) -> Iterator[Prepared]:
    """Open a checkpoint, classify its tensors and plan the work, from headers alone.

    The parameters are those of `neuromfa.analyse`. The checkpoint is closed in the end, unless it
    was given open.
    """
    if executor is not None and threads is not None:
        raise UsageError(
            f"threads {threads}: work on a cluster has as many as it has workers; leave it out"
        )
    asked = device or "cpu"
    devices = find_devices(asked) if executor is None else worker_devices(asked)
    given = isinstance(source, Checkpoint)
    checkpoint = (
        source
        if isinstance(source, Checkpoint)
        else open_checkpoint(source, revision=revision, allow_pickle=allow_pickle)
    )
    if isinstance(checkpoint.store, ShardedArrays):
        checkpoint.store.ranks.begin()
    try:
        network = classify(
            checkpoint.tensors,
            protocol=protocol,
            config=checkpoint.config,
            kinds=checkpoint.kinds,
            aliases=checkpoint.aliases,
            registry=load_registry(Path(architectures) if architectures else None),
            strict=strict,
        )
        check_dtypes(checkpoint, network)
        itemsizes = {name: ref.itemsize for name, ref in checkpoint.tensors.items()}
        analysed = {tensor for layer in network.layers for tensor in layer.tensors}
        held = {t: gpu for t in analysed if (gpu := checkpoint.tensors[t].gpu) is not None}
        devices = where_weights_lie(devices, device, set(held.values()), source=checkpoint.source)
        if devices.gpus:
            limit = device_memory or (
                WORKER_DEVICE_MEMORY if executor else smallest_free_memory(devices)
            )
            work = plan_for_gpus(
                network,
                protocol,
                itemsizes,
                devices=devices,
                held=held,
                memory=memory,
                device_memory=limit,
            )
        else:
            threads = threads if executor is None else 1
            work = plan(network, protocol, itemsizes, threads=threads, memory=memory)
        yield Prepared(checkpoint, network, work)
    except BaseException as error:
        if isinstance(checkpoint.store, ShardedArrays):
            checkpoint.store.ranks.leave(error)
        raise
    finally:
        if not given:
            checkpoint.close()


def check_dtypes(checkpoint: Checkpoint, network: Network) -> None:
    """Refuse weights of a type that no kernel counts, before any is read.

    Raises
    ------
    UnsupportedError
        Naming the first such tensor.
    """
    names = {dtype.name for dtype in DTYPES}
    for layer in network.layers:
        for tensor in layer.tensors:
            if (ref := checkpoint.tensors[tensor]).dtype not in names:
                raise UnsupportedError(
                    f"{ref.file or checkpoint.source}: tensor {tensor} is stored as {ref.dtype}; "
                    f"weights can be {', '.join(sorted(names))}"
                )


def run(
    tasks: Iterable[Task],
    work: Callable[[Task], Answer],
    executor: Executor,
    *,
    in_flight: int,
) -> Iterator[tuple[Task, Answer]]:
    """Do all tasks on an executor and give the answers in the order of the tasks.

    Parameters
    ----------
    tasks : iterable
        In the order wanted back.
    work : callable
        Done once for each task, on the executor.
    executor : concurrent.futures.Executor
        Any: threads here, a cluster elsewhere.
    in_flight : int
        Most tasks handed out and not yet given back, which bounds the memory for answers.

    Yields
    ------
    tuple
        Task and answer. The first failure, in task order, is raised; what had not started is
        cancelled.
    """
    waiting: deque[tuple[Task, Future[Answer]]] = deque()
    source = iter(tasks)
    try:
        for task in source:
            waiting.append((task, executor.submit(work, task)))
            if len(waiting) >= in_flight:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def run_largest_first(
    tasks: Sequence[Task],
    work: Callable[[Task], Answer],
    executor: Executor,
    *,
    costs: Sequence[int],
) -> Iterator[tuple[Task, Answer]]:
    """Do all tasks, the dearest first, and give the answers in the order of the tasks.

    Workers of any speed then end at nearly the same time. All answers may wait at once.

    Parameters
    ----------
    tasks : sequence
        In the order wanted back.
    work : callable
        Done once for each task, on the executor.
    executor : concurrent.futures.Executor
        One worker for each device, or a cluster.
    costs : sequence of int
        Of each task, in any unit.

    Yields
    ------
    tuple
        Task and answer. The first failure, in task order, is raised; what had not started is
        cancelled.
    """
    futures: dict[int, Future[Answer]] = {}
    try:
        for k in largest_first(costs):
            futures[k] = executor.submit(work, tasks[k])
        for k, task in enumerate(tasks):
            yield task, futures.pop(k).result()
    finally:
        for future in futures.values():
            future.cancel()
