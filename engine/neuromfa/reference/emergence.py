"""Degree of emergence between two checkpoints, from their sampled networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from neuromfa.errors import UsageError
from neuromfa.multifractal import Float64
from neuromfa.records import json_text, plain
from neuromfa.reference.record import ReferenceAnalysis
from neuromfa.reference.samples import TOLERANCE, mean_and_sd


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReferenceEmergence:
    """Degree of emergence E of one checkpoint against a baseline (docs/reference.md).

    Attributes
    ----------
    source, baseline : str
        The two checkpoints.
    degree : float
        As published: from the means of alpha_0 and width over the samples.
    degree_mean, degree_sd : float
        Of E itself over the samples: sample s is the same units in both checkpoints.
    degrees : float64 array, shape (n_samples,)
        E of each sample; NaN where it is undefined.
    degree_derivative : float
        As `degree`, with the derivative at q = 0 in place of the tied alpha_0.
    filters : tuple of mapping
        For each filter mode and tolerance: ``mode``, ``tolerance``, ``degree``, and how many
        samples were ``kept`` and ``kept_of_baseline``.
    undefined : str or None
        Why `degree` is undefined.
    """

    source: str
    baseline: str
    degree: float
    degree_mean: float
    degree_sd: float
    degrees: Float64
    degree_derivative: float
    filters: tuple[Mapping[str, Any], ...]
    undefined: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values: None where undefined."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def to_json(self) -> str:
        """`to_dict` as JSON text (RFC 8259: no NaN)."""
        return json_text(self.to_dict())


def degree_of_emergence(width: float, alpha_0: float, *, first: tuple[float, float]) -> float:
    """E = width / width_first * ln(alpha_0_first / alpha_0); NaN where that is undefined.

    Parameters
    ----------
    width, alpha_0 : float
        Of the checkpoint.
    first : tuple of float
        Width and alpha_0 of the baseline.
    """
    width_first, alpha_first = first
    if not all(map(math.isfinite, (width, alpha_0, width_first, alpha_first))):
        return math.nan
    if width_first == 0 or alpha_0 == 0 or alpha_first / alpha_0 <= 0:
        return math.nan
    return width / width_first * math.log(alpha_first / alpha_0)


def reference_emergence(
    analysis: ReferenceAnalysis, baseline: ReferenceAnalysis
) -> ReferenceEmergence:
    """Degree of emergence of a checkpoint against a named baseline, with its spread.

    Parameters
    ----------
    analysis, baseline : ReferenceAnalysis
        Of two checkpoints of one model, by the same settings.

    Raises
    ------
    UsageError
        If settings, sizes or architectures differ: the sampled units would not be the same.

    References
    ----------
    docs/reference.md; definitions, section 6.
    """
    for name in ("protocol", "architecture", "sizes", "layout"):
        mine, its = getattr(analysis, name), getattr(baseline, name)
        if mine != its:
            different = [k for k in mine if mine[k] != its.get(k)] if isinstance(mine, dict) else []
            raise UsageError(
                f"{analysis.source} and {baseline.source}: {name} differs "
                f"({', '.join(different) or f'{mine}, {its}'}), and samples of different networks "
                "cannot be compared; analyse both in the same way"
            )

    def degree(mode: int = 0, tolerance: float = 0.0, name: str = "alpha_0") -> float:
        now, then = (a.statistics(mode, tolerance) for a in (analysis, baseline))
        first = then["width_mean"], then[f"{name}_mean"]
        return degree_of_emergence(now["width_mean"], now[f"{name}_mean"], first=first)

    degrees = np.array(
        [
            degree_of_emergence(s.width, s.alpha_0, first=(b.width, b.alpha_0))
            for s, b in zip(analysis.samples, baseline.samples, strict=True)
        ]
    )
    mean, sd = mean_and_sd(degrees)
    published = degree()
    return ReferenceEmergence(
        source=analysis.source,
        baseline=baseline.source,
        degree=published,
        degree_mean=mean,
        degree_sd=sd,
        degrees=degrees,
        degree_derivative=degree(name="alpha_0_derivative"),
        filters=tuple(
            {
                "mode": mode,
                "tolerance": tolerance,
                "degree": degree(mode, tolerance),
                "kept": len(analysis.kept(mode, tolerance)),
                "kept_of_baseline": len(baseline.kept(mode, tolerance)),
            }
            for mode in range(4)
            for tolerance in ((0.0, TOLERANCE) if mode in (1, 3) else (0.0,))
        ),
        undefined=_reason(analysis, baseline) if math.isnan(published) else None,
    )


def _reason(analysis: ReferenceAnalysis, baseline: ReferenceAnalysis) -> str:
    for which in (baseline, analysis):
        for sample in which.samples:
            if sample.undefined:
                return (
                    f"{which.source}: sample {sample.sample} has no exponents: {sample.undefined}"
                )
    return "the width of the baseline or a mean alpha_0 is zero, or the signs of alpha_0 differ"
