"""Neighbourhoods of more than one hop: how many units of the next layers are within a radius."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.errors import UnsupportedError, UsageError
from neuromfa.graphs.chain import PAPER_CHAIN, chain, choose_layers
from neuromfa.graphs.path_search import PathSearch
from neuromfa.graphs.spectra import GROUPS, LEVEL, sampling_errors
from neuromfa.groups import Measured, fit
from neuromfa.multifractal import Int64, mass_exponents, spectrum
from neuromfa.protocol import Protocol
from neuromfa.provenance import versions
from neuromfa.records import json_text
from neuromfa.results import Group
from neuromfa.scheduler import prepare
from neuromfa.units import DEFAULT_MEMORY

if TYPE_CHECKING:
    from neuromfa.scheduler import Source

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HopAnalysis:
    """The analysis of neighbourhoods of several hops.

    Attributes
    ----------
    protocol : mapping
        Every setting that defines the numbers; ``hops`` and ``topology`` among them.
    source : str
        The checkpoint, as it was asked for.
    network : Group
        All layers that were analysed together.
    layers : tuple of Group
        One by one. ``edges_in_range`` are the units within the cutoff; ``edges_below``,
        ``edges_above``, ``zeros`` and ``nonfinite`` are of the first hop.
    paths : mapping of str to tuple of str
        By layer, the layers that its paths run through.
    intervals : mapping of str to mapping or None
        Where neurons were drawn at random, for the network and each layer how far ``alpha_0`` and
        ``width`` may be from those of all neurons: ``level``, ``groups``, and for each a
        ``stderr`` and the ends ``low`` and ``high``.
    provenance : mapping
        Versions, resources, time.
    warnings : tuple of str
        What a careful reader should know.

    References
    ----------
    Definitions, section 7.
    """

    protocol: Mapping[str, Any]
    source: str
    network: Group
    layers: tuple[Group, ...]
    paths: Mapping[str, tuple[str, ...]]
    intervals: Mapping[str, Mapping[str, Any] | None]
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {
            "kind": "hops",
            "schema_version": SCHEMA_VERSION,
            "protocol": dict(self.protocol),
            "source": self.source,
            "network": self.network.to_dict(),
            "layers": [group.to_dict() for group in self.layers],
            "paths": {name: list(layers) for name, layers in self.paths.items()},
            "intervals": dict(self.intervals),
            "provenance": dict(self.provenance),
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text (RFC 8259: no NaN)."""
        return json_text(self.to_dict())


def analyse_hops(
    source: Source,
    hops: int,
    protocol: Protocol | None = None,
    *,
    layers: Sequence[str] = (),
    share: float = 1.0,
    seed: int = 0,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
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
    share : float
        Measure this share of the neurons of each layer, drawn at random, and give intervals;
        below 1 the protocol must fit over all radii.
    seed : int
        Of the draw.
    threads, memory : int
        As for `neuromfa.analyse`; change no bit of the result.
    **options
        Those of `neuromfa.analyse` that say how a checkpoint is opened.

    Returns
    -------
    HopAnalysis
        Along the topology ``paper_chain``; see definitions, section 7.

    Raises
    ------
    UsageError
        If `hops` is not positive or no layer has such a name.
    UnsupportedError
        If it is not known which output is which neuron of the next layer, or distances are not
        1/abs(w).
    BadInputError
        If a weight on the way is NaN or infinite.
    ResourceError
        If memory does not suffice.

    References
    ----------
    Definitions, sections 2 and 7.
    """
    started = time.perf_counter()
    protocol = protocol or Protocol()
    if hops != int(hops) or hops < 1:
        raise UsageError(f"hops {hops}: must be a whole number, at least 1")
    if not 0 < share <= 1:
        raise UsageError(f"share {share:g}: must be above 0 and at most 1")
    if share < 1 and protocol.radii != "all":
        raise UsageError(
            f"share {share:g}: which radii are observed depends on the draw, and moves the fit "
            "more than the intervals say; fit over all of them (radii all)"
        )
    if protocol.distance != "inverse":
        raise UnsupportedError("paths are built for the distance 1/abs(w) only; leave it inverse")
    with prepare(source, protocol, threads=threads, memory=memory, **options) as job:
        network = job.network.layers
        chosen = choose_layers(network, layers, job.checkpoint.source)
        ways = {layer.name: chain(network, layer, hops) for layer in chosen}
        search = PathSearch(job.checkpoint, protocol, job.plan.threads, memory)
        generator = np.random.Generator(np.random.PCG64(seed))
        groups = {
            x.name: search.groups(ways[x.name], _draw(x.neurons, share, generator)) for x in chosen
        }
        every = [
            reduce(add, (of_layer[k] for of_layer in groups.values() if k < len(of_layer)))
            for k in range(max(map(len, groups.values())))
        ]
        measured = {name: reduce(add, of_layer) for name, of_layer in groups.items()}
        whole = reduce(add, measured.values())
        short = [layer.name for layer in chosen if len(ways[layer.name]) < hops]
        notes = (*job.checkpoint.warnings, *job.network.warnings)
        if short:
            notes += (f"{len(short)} layers have fewer than {hops} ahead, such as {short[0]}",)
        return HopAnalysis(
            protocol={
                **protocol.to_dict(),
                "hops": int(hops),
                "topology": PAPER_CHAIN,
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
            paths={name: tuple(layer.name for layer in path) for name, path in ways.items()},
            provenance={
                "versions": versions(),
                "device": "cpu",
                "machine": platform.machine(),
                "threads": job.plan.threads,
                "memory_bytes": memory,
                "seconds": round(time.perf_counter() - started, 6),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            warnings=notes,
        )


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
