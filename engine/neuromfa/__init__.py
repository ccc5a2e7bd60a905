"""Exact neuron-based multifractal analysis of the weights of large language models.

>>> import neuromfa
>>> analysis = neuromfa.analyse("path/to/checkpoint")  # doctest: +SKIP
>>> analysis.network.alpha_0, analysis.network.width  # doctest: +SKIP

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuromfa.analysis import Progress, analyse
    from neuromfa.checkpoint import Checkpoint, open_checkpoint
    from neuromfa.errors import (
        BadInputError,
        NeuromfaError,
        PartialError,
        ResourceError,
        UnsupportedError,
        UsageError,
    )
    from neuromfa.graphs.analysis import analyse_graph
    from neuromfa.graphs.export import NetworkGraph, export_network, write_network
    from neuromfa.graphs.multihop import HopAnalysis, analyse_hops
    from neuromfa.graphs.results import GraphAnalysis, structure_distance
    from neuromfa.graphs.settings import GraphProtocol
    from neuromfa.protocol import Protocol, q_grid
    from neuromfa.results import Analysis, Group
    from neuromfa.storage import read_analysis, schema, write_analysis

__version__ = "0.1.0"

_HOMES = {
    "analysis": ("Progress", "analyse"),
    "checkpoint": ("Checkpoint", "open_checkpoint"),
    "errors": (
        "BadInputError",
        "NeuromfaError",
        "PartialError",
        "ResourceError",
        "UnsupportedError",
        "UsageError",
    ),
    "graphs.analysis": ("analyse_graph",),
    "graphs.export": ("NetworkGraph", "export_network", "write_network"),
    "graphs.multihop": ("HopAnalysis", "analyse_hops"),
    "graphs.results": ("GraphAnalysis", "structure_distance"),
    "graphs.settings": ("GraphProtocol",),
    "protocol": ("Protocol", "q_grid"),
    "results": ("Analysis", "Group"),
    "storage": ("read_analysis", "schema", "write_analysis"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Analysis",
    "BadInputError",
    "Checkpoint",
    "GraphAnalysis",
    "GraphProtocol",
    "Group",
    "HopAnalysis",
    "NetworkGraph",
    "NeuromfaError",
    "PartialError",
    "Progress",
    "Protocol",
    "ResourceError",
    "UnsupportedError",
    "UsageError",
    "analyse",
    "analyse_graph",
    "analyse_hops",
    "export_network",
    "open_checkpoint",
    "q_grid",
    "read_analysis",
    "schema",
    "structure_distance",
    "write_analysis",
    "write_network",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"neuromfa.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
