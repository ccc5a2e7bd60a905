"""Neighbourhoods of more than one hop: how many units of the next layers are within a radius."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.devices import Devices, find_devices, open_lanes, smallest_free_memory
from neuromfa.errors import ResourceError, UnsupportedError, UsageError
from neuromfa.graphs.chain import (
    PAPER_CHAIN,
    RESIDUAL,
    TOPOLOGIES,
    Stage,
    choose_layers,
    parallel_blocks,
    stages,
)
from neuromfa.graphs.hop_record import HopAnalysis
from neuromfa.graphs.path_search import PathSearch
from neuromfa.graphs.products import OnGpu, OnProcessors, Products
from neuromfa.graphs.spectra import GROUPS, LEVEL, sampling_errors
from neuromfa.groups import Measured, fit
from neuromfa.multifractal import Int64, mass_exponents, spectrum
from neuromfa.network import Layer
from neuromfa.protocol import Protocol
from neuromfa.provenance import versions
from neuromfa.scheduler import prepare
from neuromfa.units import DEFAULT_MEMORY

if TYPE_CHECKING:
    from neuromfa.scheduler import Source


def analyse_hops(  # noqa: PLR0913  (those of `neuromfa.analyse`, and its own)
    source: Source,
    hops: int,
    protocol: Protocol | None = None,
    *,
    layers: Sequence[str] = (),
    topology: str = PAPER_CHAIN,
    share: float = 1.0,
    seed: int = 0,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    device: str = "cpu",
    device_memory: int | None = None,
    **options: Any,
) -> HopAnalysis:
    """Analyse every neuron with its neighbours up to `hops` layers ahead, exactly.

    Parameters
    ----------
    source : path, str, mapping, torch.nn.Module or Checkpoint
        As for `neuromfa.analyse`.
    hops : int
        Most edges of a path; 1 is `neuromfa.analyse`.
    protocol : Protocol, optional
        As for `neuromfa.analyse`.
    layers : sequence of str
        Names or patterns such as ``"*.mlp_input"`` of the layers whose neurons are analysed; all
        by default.
    topology : {"paper_chain", "residual"}
        How layers follow each other: one after another, or along residual connections.
    share : float
        Measure this share of the neurons of each layer, drawn at random, and give intervals;
        below 1 the protocol must fit over all radii.
    seed : int
        Of the draw.
    threads, memory, device, device_memory
        As for `neuromfa.analyse`; change no bit of the result. On GPUs paths are found and
        counted; edges and sums are the processors' work.
    **options
        Those of `neuromfa.analyse` that say how a checkpoint is opened.

    Returns
    -------
    HopAnalysis
        See definitions, section 7.

    Raises
    ------
    UsageError
        If `hops` is not positive, no layer has such a name, or there is no such topology.
    UnsupportedError
        If it is not known which output is which neuron of the next layer, or distances are not
        1/abs(w).
    BadInputError
        If a weight on the way is NaN or infinite.
    ResourceError
        If memory does not suffice, or a GPU is not there or fails.

    References
    ----------
    Definitions, sections 2 and 7.
    """
    started = time.perf_counter()
    protocol = protocol or Protocol()
    _check(protocol, hops, topology, share)
    devices = find_devices(device)
    with prepare(source, protocol, threads=threads, memory=memory, **options) as job:
        network, config = job.network.layers, job.checkpoint.config or {}
        parallel = parallel_blocks(config, job.network.architecture)
        chosen = choose_layers(network, layers, job.checkpoint.source)
        paths = {
            layer.name: stages(network, layer, hops, topology=topology, parallel=parallel)
            for layer in chosen
        }
        search = PathSearch(
            job.checkpoint,
            protocol,
            _products(devices, protocol, job.plan.threads),
            job.plan.threads,
            memory,
            (device_memory or smallest_free_memory(devices)) if devices.gpus else 0,
        )
        groups = _search(search, chosen, paths, share=share, seed=seed)
        every = [
            reduce(add, (of_layer[k] for of_layer in groups.values() if k < len(of_layer)))
            for k in range(max(map(len, groups.values())))
        ]
        measured = {name: reduce(add, of_layer) for name, of_layer in groups.items()}
        whole = reduce(add, measured.values())
        short = [name for name, path in paths.items() if max(x.most for x in path) < hops]
        notes = (*job.checkpoint.warnings, *job.network.warnings)
        if short:
            notes += (f"{len(short)} layers have fewer than {hops} ahead, such as {short[0]}",)
        return HopAnalysis(
            protocol={
                **protocol.to_dict(),
                "hops": int(hops),
                "topology": topology,
                "parallel_blocks": parallel if topology == RESIDUAL else None,
                "share": share,
                "seed": seed if share < 1 else None,
            },
            source=job.checkpoint.source,
            network=fit("network", whole, protocol),
            layers=tuple(
                fit(layer.name, measured[layer.name], protocol, layer=layer) for layer in chosen
            ),
            intervals={
                name: interval(total, parts, protocol, share)
                for name, total, parts in (
                    ("network", whole, every),
                    *((name, measured[name], groups[name]) for name in groups),
                )
                if share < 1
            },
            paths={name: tuple(stage.layer.name for stage in path) for name, path in paths.items()},
            provenance={
                "versions": versions(),
                "device": str(devices),
                "machine": platform.machine(),
                "threads": job.plan.threads,
                "memory_bytes": memory,
                "seconds": round(time.perf_counter() - started, 6),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            warnings=notes,
        )


def _check(protocol: Protocol, hops: int, topology: str, share: float) -> None:
    if hops != int(hops) or hops < 1:
        raise UsageError(f"hops {hops}: must be a whole number, at least 1")
    if topology not in TOPOLOGIES:
        raise UsageError(f"topology {topology!r}: must be {' or '.join(TOPOLOGIES)}")
    if not 0 < share <= 1:
        raise UsageError(f"share {share:g}: must be above 0 and at most 1")
    if share < 1 and protocol.radii != "all":
        raise UsageError(
            f"share {share:g}: which radii are observed depends on the draw, and moves the fit "
            "more than the intervals say; fit over all of them (radii all)"
        )
    if protocol.distance != "inverse":
        raise UnsupportedError("paths are built for the distance 1/abs(w) only; leave it inverse")


def _products(devices: Devices, protocol: Protocol, threads: int) -> list[Products]:
    """Where paths are found: the processors, or each of some GPUs."""
    if not devices.gpus:
        return [OnProcessors(protocol.cutoff, threads)]
    return [OnGpu(protocol.cutoff, lane) for lane in open_lanes(devices)]


def _search(
    search: PathSearch,
    chosen: Sequence[Layer],
    paths: Mapping[str, Sequence[Stage]],
    *,
    share: float,
    seed: int,
) -> dict[str, list[Measured]]:
    """Sums of the groups of each layer's neurons; what a GPU refuses is told in one sentence."""
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = {layer.name: _draw(layer.neurons, share, generator) for layer in chosen}
    try:
        return {name: search.groups(paths[name], groups) for name, groups in drawn.items()}
    except (MemoryError, RuntimeError) as error:
        if not search.device_memory:
            raise
        raise ResourceError(f"{search.checkpoint.source}: {error}") from error


def _draw(neurons: int, share: float, generator: np.random.Generator) -> list[Int64]:
    """Neurons to measure, in groups if they are drawn; increasing in each."""
    if share == 1:
        return [np.arange(neurons)]
    drawn = generator.choice(neurons, math.ceil(share * neurons), replace=False)
    return [np.sort(group) for group in np.array_split(drawn, min(GROUPS, len(drawn)))]


def interval(
    total: Measured, parts: Sequence[Measured], protocol: Protocol, share: float
) -> dict[str, Any] | None:
    """Intervals for all neurons from the groups of a random sample (definitions, section 7).

    Parameters
    ----------
    total : Measured
        Sums of the sample.
    parts : sequence of Measured
        Sums of its groups.
    protocol : Protocol
        As for the sample.
    share : float
        Size of the sample over that of what it is drawn from.

    Returns
    -------
    dict or None
        None with fewer than two groups, or if the sample or a replicate has no exponents.
    """
    found = []
    for part in (None, *parts):
        sums = total.sums if part is None else total.sums - part.sums
        exponents = mass_exponents(sums, protocol)
        if exponents.undefined or len(parts) < 2:
            return None
        curve = spectrum(sums, exponents, protocol)
        found.append((curve.alpha_0, curve.width))
    value, *replicates = np.array(found)
    half_widths = sampling_errors(np.array(replicates), share)
    return {"level": LEVEL, "groups": len(parts)} | {
        name: {"stderr": float(error), "low": float(v - half), "high": float(v + half)}
        for name, v, error, half in zip(("alpha_0", "width"), value, *half_widths, strict=True)
    }
