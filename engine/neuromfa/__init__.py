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
    from neuromfa.emergence.comparison import Comparison, compare, structure_distance
    from neuromfa.emergence.controls import Controls, measure_controls
    from neuromfa.emergence.course import Emergence, degree_of_emergence, measure_emergence
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
    from neuromfa.graphs.hop_record import HopAnalysis
    from neuromfa.graphs.multihop import analyse_hops
    from neuromfa.graphs.results import GraphAnalysis
    from neuromfa.graphs.settings import GraphProtocol
    from neuromfa.protocol import Protocol, q_grid
    from neuromfa.reference.emergence import ReferenceEmergence, reference_emergence
    from neuromfa.reference.procedure import analyse_reference
    from neuromfa.reference.record import ReferenceAnalysis
    from neuromfa.reference.sampling import SamplingPlan, sampling_plan
    from neuromfa.reference.settings import ReferenceProtocol
    from neuromfa.results import Analysis, Group
    from neuromfa.scores.association import Association, associate
    from neuromfa.scores.joining import Joined, join
    from neuromfa.scores.matching import MeasuredCheckpoint
    from neuromfa.scores.reading import read_scores
    from neuromfa.scores.score import Score
    from neuromfa.storage import read_analysis, schema, write_analysis
    from neuromfa.suites.running import run_suite
    from neuromfa.suites.suite import Suite, SuiteModel
    from neuromfa.suites.suite_results import SuiteResults, read_suite
    from neuromfa.suites.work import SuiteProgress
    from neuromfa.training.monitor import Monitor

__version__ = "0.1.0"

_HOMES = {
    "analysis": ("Progress", "analyse"),
    "checkpoint": ("Checkpoint", "open_checkpoint"),
    "emergence.comparison": ("Comparison", "compare", "structure_distance"),
    "emergence.controls": ("Controls", "measure_controls"),
    "emergence.course": ("Emergence", "degree_of_emergence", "measure_emergence"),
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
    "graphs.hop_record": ("HopAnalysis",),
    "graphs.multihop": ("analyse_hops",),
    "graphs.results": ("GraphAnalysis",),
    "graphs.settings": ("GraphProtocol",),
    "protocol": ("Protocol", "q_grid"),
    "reference.emergence": ("ReferenceEmergence", "reference_emergence"),
    "reference.procedure": ("analyse_reference",),
    "reference.record": ("ReferenceAnalysis",),
    "reference.sampling": ("SamplingPlan", "sampling_plan"),
    "reference.settings": ("ReferenceProtocol",),
    "results": ("Analysis", "Group"),
    "scores.association": ("Association", "associate"),
    "scores.joining": ("Joined", "join"),
    "scores.matching": ("MeasuredCheckpoint",),
    "scores.reading": ("read_scores",),
    "scores.score": ("Score",),
    "storage": ("read_analysis", "schema", "write_analysis"),
    "suites.running": ("run_suite",),
    "suites.suite": ("Suite", "SuiteModel"),
    "suites.suite_results": ("SuiteResults", "read_suite"),
    "suites.work": ("SuiteProgress",),
    "training.monitor": ("Monitor",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Analysis",
    "Association",
    "BadInputError",
    "Checkpoint",
    "Comparison",
    "Controls",
    "Emergence",
    "GraphAnalysis",
    "GraphProtocol",
    "Group",
    "HopAnalysis",
    "Joined",
    "MeasuredCheckpoint",
    "Monitor",
    "NetworkGraph",
    "NeuromfaError",
    "PartialError",
    "Progress",
    "Protocol",
    "ReferenceAnalysis",
    "ReferenceEmergence",
    "ReferenceProtocol",
    "ResourceError",
    "SamplingPlan",
    "Score",
    "Suite",
    "SuiteModel",
    "SuiteProgress",
    "SuiteResults",
    "UnsupportedError",
    "UsageError",
    "analyse",
    "analyse_graph",
    "analyse_hops",
    "analyse_reference",
    "associate",
    "compare",
    "degree_of_emergence",
    "export_network",
    "join",
    "measure_controls",
    "measure_emergence",
    "open_checkpoint",
    "q_grid",
    "read_analysis",
    "read_scores",
    "read_suite",
    "reference_emergence",
    "run_suite",
    "sampling_plan",
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
