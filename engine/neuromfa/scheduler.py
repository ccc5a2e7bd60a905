"""Which work is done in which pieces: planned before a byte is read, answered in order.

Pieces, threads and memory are resources: they never change a bit of a result, because a piece is
whole tiles of a layer and every piece gives its sums tile by tile.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neuromfa.architectures import load_registry
from neuromfa.checkpoint import Checkpoint, open_checkpoint
from neuromfa.errors import ResourceError, UnsupportedError, UsageError
from neuromfa.multifractal import moments
from neuromfa.network import Layer, Network, classify
from neuromfa.protocol import Protocol
from neuromfa_kernels import DTYPES, TILE
from neuromfa_kernels.cpu_threads import usable_threads

if TYPE_CHECKING:
    import torch

    Source = str | os.PathLike[str] | Mapping[str, Any] | torch.nn.Module | Checkpoint

Task = TypeVar("Task")
Answer = TypeVar("Answer")

DEFAULT_MEMORY = 512 << 20
PIECES_PER_THREAD = 16
"""Enough that threads end together, few enough that a piece is worth handing over."""
SHARED_PAGES = 1 << 30
"""Up to this size a layer's mapped pages are expected to stay in memory while several threads
work through it side by side; a larger layer is one unit and each page is read once."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Some neurons of a layer, whole tiles of them: the piece of work that is handed out.

    Attributes
    ----------
    layer : int
        Index in the network.
    start, stop : int
        Its neurons.
    weight_bytes : int
        Share of the layer's bytes, which tells how far the work is.
    """

    layer: int
    start: int
    stop: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What an analysis will do.

    Attributes
    ----------
    units : tuple of Unit
        In the order of the network's layers and neurons.
    threads : int
        Threads that work at the same time.
    unit_bytes : int
        Most private memory that one unit takes.
    memory_bytes : int
        Most private memory that all units in flight and their answers take.
    weight_bytes : int
        Bytes of weights that will be counted.
    """

    units: tuple[Unit, ...]
    threads: int
    unit_bytes: int
    memory_bytes: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checkpoint whose headers were read, and what is to be done with it."""

    checkpoint: Checkpoint
    network: Network
    plan: Plan


@contextmanager
def prepare(
    source: Source,
    protocol: Protocol,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    architectures: str | os.PathLike[str] | None = None,
    strict: bool = False,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Iterator[Prepared]:
    """Open a checkpoint, classify its tensors and plan the work, from headers alone.

    The parameters are those of `neuromfa.analyse`. The checkpoint is closed in the end, unless it
    was given open.
    """
    given = isinstance(source, Checkpoint)
    checkpoint = (
        source
        if isinstance(source, Checkpoint)
        else open_checkpoint(source, revision=revision, allow_pickle=allow_pickle)
    )
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
        work = plan(network, protocol, itemsizes, threads=threads, memory=memory)
        yield Prepared(checkpoint, network, work)
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


def layer_bytes(layer: Layer, itemsizes: dict[str, int]) -> int:
    """Bytes of a layer's weights as stored; `itemsizes` by tensor name."""
    return sum(m.weights * itemsizes[m.tensor] for m in layer.maps)


def tile_bytes(protocol: Protocol) -> int:
    """Private memory for one tile of neurons: its counts and its two tables of sums."""
    radii = protocol.n_radii
    return TILE * 4 * (radii + 2) + 16 * len(moments(protocol)) * radii + 16 * TILE


def plan(
    network: Network,
    protocol: Protocol,
    itemsizes: dict[str, int],
    *,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Plan:
    """Cut the layers of a network into units that keep every thread busy within `memory`.

    Parameters
    ----------
    network : Network
        Its layers, from headers alone.
    protocol : Protocol
        The cutoff and the moments decide how much a neuron needs.
    itemsizes : dict of str to int
        Bytes of one weight, by tensor.
    threads : int, optional
        As many as the process may use by default.
    memory : int
        Bytes of private memory for all work in flight; mapped pages of the checkpoint, which the
        system can take back at any time, are not counted.

    Raises
    ------
    ResourceError
        If one thread working on one tile needs more than `memory`.
    UsageError
        If `threads` is not positive.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: must be at least 1")
    threads = usable_threads(threads)
    tile = tile_bytes(protocol)
    if (tiles := memory // (2 * tile)) < 1:
        raise ResourceError(
            f"memory {memory:,} bytes: one tile of {TILE:,} neurons at cutoff "
            f"{protocol.cutoff:g} takes {2 * tile:,} bytes; raise --memory or lower --cutoff"
        )
    threads = min(threads, tiles)
    most = tiles // threads  # tiles in one unit, its answer waiting while the next one is worked on
    sizes = [layer_bytes(layer, itemsizes) for layer in network.layers]
    share = max(1, sum(sizes) // (threads * PIECES_PER_THREAD))
    units: list[Unit] = []
    for index, (layer, size) in enumerate(zip(network.layers, sizes, strict=True)):
        in_layer = -(-layer.neurons // TILE)
        pieces = min(in_layer, max(1, size // share)) if size <= SHARED_PAGES else 1
        step = TILE * min(most, -(-in_layer // pieces))
        for start in range(0, layer.neurons, step):
            stop = min(start + step, layer.neurons)
            units.append(Unit(index, start, stop, size * (stop - start) // layer.neurons))
    widest = max((-(-(u.stop - u.start) // TILE) for u in units), default=0)
    return Plan(tuple(units), threads, widest * tile, 2 * threads * widest * tile, sum(sizes))


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
