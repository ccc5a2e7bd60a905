"""Neighbourhoods of more than one hop: how many units of the next layers are within a radius."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from neuromfa.errors import UnsupportedError, UsageError
from neuromfa.graphs.chain import PAPER_CHAIN, chain, choose_layers
from neuromfa.graphs.path_search import PathSearch
from neuromfa.groups import fit
from neuromfa.protocol import Protocol
from neuromfa.provenance import versions
from neuromfa.results import Group
from neuromfa.scheduler import DEFAULT_MEMORY, prepare

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
            "provenance": dict(self.provenance),
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text (RFC 8259: no NaN)."""
        return json.dumps(self.to_dict(), allow_nan=False, indent=1) + "\n"


def analyse_hops(
    source: Source,
    hops: int,
    protocol: Protocol | None = None,
    *,
    layers: Sequence[str] = (),
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
    if getattr(protocol, "distance", "inverse") != "inverse":
        raise UnsupportedError("paths are built for the distance 1/abs(w) only; leave it inverse")
    with prepare(source, protocol, threads=threads, memory=memory, **options) as job:
        network = job.network.layers
        chosen = choose_layers(network, layers, job.checkpoint.source)
        ways = {layer.name: chain(network, layer, hops) for layer in chosen}
        search = PathSearch(job.checkpoint, protocol, job.plan.threads, memory)
        measured = [search.layer(ways[layer.name]) for layer in chosen]
        short = [layer.name for layer in chosen if len(ways[layer.name]) < hops]
        notes = (*job.checkpoint.warnings, *job.network.warnings)
        if short:
            notes += (f"{len(short)} layers have fewer than {hops} ahead, such as {short[0]}",)
        return HopAnalysis(
            protocol={**protocol.to_dict(), "hops": int(hops), "topology": PAPER_CHAIN},
            source=job.checkpoint.source,
            network=fit("network", reduce(add, measured), protocol),
            layers=tuple(
                fit(layer.name, of_layer, protocol, layer=layer)
                for layer, of_layer in zip(chosen, measured, strict=True)
            ),
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
