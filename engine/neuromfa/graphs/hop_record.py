"""The record of an analysis of neighbourhoods of several hops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuromfa.records import json_text
from neuromfa.results import Group

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
