"""The authors' sampled procedure as a report shows it: means over samples, and their spread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.group import Group
from neuromfa.results import Analysis

if TYPE_CHECKING:
    from neuromfa.reference.record import ReferenceAnalysis

COUNTS = (
    *("neurons", "counted_neurons", "edges", "edges_in_range", "edges_below", "edges_above"),
    *("zeros", "nonfinite"),
)


def as_analysis(record: ReferenceAnalysis) -> Analysis:
    """An analysis whose network is the mean over the samples; it has no blocks and no roles.

    Where errors stand in an exact analysis, there are standard deviations over the samples; counts
    are those of the first sample.
    """
    known = [sample for sample in record.samples if not sample.undefined]
    statistics, q = record.statistics(), np.array(record.protocol["q"])[:-1]
    undefined = None if known else "no sampled network has exponents"

    def mean(name: str) -> Any:
        values = [getattr(sample, name)[: len(q)] for sample in known]
        return np.mean(values, axis=0) if values else np.full(len(q), math.nan)

    network = Group(
        name="network",
        block=None,
        role=None,
        tensors=(),
        **{name: getattr(record.samples[0], name) for name in COUNTS},
        radii=np.zeros(0, np.int64),
        q=q,
        tau=mean("tau"),
        tau_stderr=mean("tau_stderr"),
        intercept=np.full(len(q), math.nan),
        r2=mean("r2"),
        alpha=mean("alpha"),
        f=mean("f"),
        generalised_dimension=np.full(len(q), math.nan),
        specific_heat=np.full(len(q), math.nan),
        alpha_0=statistics["alpha_0_mean"],
        width=statistics["width_mean"],
        asymmetry=math.nan,
        r2_min=min((float(np.fmin.reduce(s.r2)) for s in known), default=math.nan),
        concave=None,
        jackknife={
            "alpha_0_stderr": statistics["alpha_0_sd"],
            "width_stderr": statistics["width_sd"],
        },
        fractal_dimension={"defined": 0, "mean": None, "histogram": None},
        undefined=undefined,
    )
    return Analysis(
        protocol=record.protocol,
        source=record.source,
        architecture=record.architecture,
        coverage=record.coverage,
        network=network,
        blocks=(),
        roles=(),
        layers=(),
        log_partition_function=np.zeros((len(q), 0)),
        provenance=record.provenance,
        warnings=record.warnings,
    )


def as_emergence(record: Mapping[str, Any]) -> dict[str, Any]:
    """The course of E from sampled networks in the form of the exact one, without controls."""
    points = [
        {"label": p["label"], "E": p["degree"], "E_stderr": p["degree_sd"], "controls": None}
        for p in record["points"]
    ]
    network = {"kind": "network", "name": "network", "points": points}
    return {"baseline": record["baseline"], "groups": [network]}
