"""The pieces that work is cut into, planned before a byte of weights is read.

Pieces, threads, devices and memory are resources: they never change a bit of a result, because a
piece is whole tiles of a layer and every piece gives its sums tile by tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from neuromfa.devices import CPU, Devices
from neuromfa.errors import ResourceError, UnsupportedError, UsageError
from neuromfa.gpu_plan import LANES, LayerSize, lightest_first, plan_gpus
from neuromfa.multifractal import moments
from neuromfa.network import Layer, Network
from neuromfa.protocol import Protocol
from neuromfa_kernels import TILE
from neuromfa_kernels.cpu_threads import usable_threads
from neuromfa_kernels.cuda_feed import SLOTS

DEFAULT_MEMORY = 512 << 20
PIECES_PER_THREAD = 16
"""Enough that threads end together, few enough that a piece is worth handing over."""
SHARED_PAGES = 1 << 30
"""Up to this size a layer's mapped pages are expected to stay in memory while several threads
work through it side by side; a larger layer is one unit and each page is read once."""

NOTHING_HELD: Mapping[str, int] = MappingProxyType({})


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
    gpu : int or None
        The GPU that must do it, where weights lie on GPUs.
    """

    layer: int
    start: int
    stop: int
    weight_bytes: int
    gpu: int | None = None


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
    devices : Devices
        Where.
    chunk_bytes, device_bytes : int
        On GPUs: weights that travel at a time, and most memory of one GPU; otherwise 0.
    """

    units: tuple[Unit, ...]
    threads: int
    unit_bytes: int
    memory_bytes: int
    weight_bytes: int
    devices: Devices = CPU
    chunk_bytes: int = 0
    device_bytes: int = 0


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


def plan_for_gpus(
    network: Network,
    protocol: Protocol,
    itemsizes: dict[str, int],
    *,
    devices: Devices,
    held: Mapping[str, int] = NOTHING_HELD,
    memory: int = DEFAULT_MEMORY,
    device_memory: int,
) -> Plan:
    """Lay the layers of a network on GPUs; see `neuromfa.gpu_plan.plan_gpus`.

    Parameters
    ----------
    held : mapping of str to int
        By tensor, the GPU that it lies on.

    Raises
    ------
    ResourceError
        If a limit is too small.
    UnsupportedError
        If the tensors of a layer lie on several GPUs.
    """
    sizes = [
        LayerSize(
            layer.neurons,
            layer_bytes(layer, itemsizes),
            max(
                (m.cols * itemsizes[m.tensor] for m in layer.maps if m.tensor not in held),
                default=0,
            ),
        )
        for layer in network.layers
    ]
    gpus = _gpus_of_layers(network, devices, sizes, held)
    laid = plan_gpus(
        sizes,
        n_radii=protocol.n_radii,
        n_q=len(moments(protocol)),
        gpus=len(devices.gpus),
        memory=memory,
        device_memory=device_memory,
    )
    units = tuple(
        Unit(k, start, stop, sizes[k].weight_bytes * (stop - start) // sizes[k].neurons, gpus[k])
        for k, start, stop in laid.pieces
    )
    return Plan(
        units,
        threads=len(devices.gpus) * LANES,
        unit_bytes=SLOTS * laid.chunk_bytes,
        memory_bytes=laid.host_bytes,
        weight_bytes=sum(size.weight_bytes for size in sizes),
        devices=devices,
        chunk_bytes=laid.chunk_bytes,
        device_bytes=laid.device_bytes,
    )


def _gpus_of_layers(
    network: Network, devices: Devices, sizes: Sequence[LayerSize], held: Mapping[str, int]
) -> Sequence[int | None]:
    """Number of the GPU that must count each layer, where some of the weights lie on GPUs."""
    if not held:
        return [None] * len(sizes)
    tied: list[int | None] = []
    for layer in network.layers:
        first = next((t for t in layer.tensors if t in held), None)
        other = next((t for t in layer.tensors if t in held and held[t] != held[first or t]), None)
        if first is not None and other is not None:
            raise UnsupportedError(
                f"layer {layer.name}: {first} is on cuda:{held[first]} and {other} on "
                f"cuda:{held[other]}; move them to one GPU"
            )
        tied.append(None if first is None else devices.gpus.index(held[first]))
    weights = [size.weight_bytes for size in sizes]
    return [devices.gpus[k] for k in lightest_first(weights, tied, len(devices.gpus))]
