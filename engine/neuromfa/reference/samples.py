"""The record of one sampled network: its spectrum by forward differences, its dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from neuromfa.multifractal import Float64, Int64
from neuromfa.records import plain

TOLERANCE = 1e-9
"""Above this, f > 0 is no rounding noise."""
WIDEST_STEP = 0.01
"""Filter modes 2 and 3: how far any alpha may lie above that of the first q."""


def mean_and_sd(values: Float64) -> tuple[float, float]:
    """Mean and standard deviation (with n - 1); NaN where there are too few values."""
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SampledDimension:
    """Neuron fractal dimensions of a sampled network, as published and where they are defined.

    Attributes
    ----------
    values : float64 array, shape (n_lists,)
        In the order of the authors' lists: block by block the inputs, the query, key and value
        units (for GPT-NeoX), the attention dimensions, MLP inputs and hidden units, each in
        ascending order, without those that have no edge. Zero where undefined. Empty in a record
        that does not keep them.
    lists : int
        How many there are.
    artificial : int
        Query, key and value units among them, which are always zero.
    defined : int
        Neurons that have a dimension.
    mean, median, sd, min, max : float
        Over the whole list, zeros included, as published.
    defined_mean, defined_median, defined_sd : float
        Over the neurons that have a dimension.
    """

    values: Float64
    lists: int
    artificial: int
    defined: int
    mean: float
    median: float
    sd: float
    min: float
    max: float
    defined_mean: float
    defined_median: float
    defined_sd: float

    @classmethod
    def of(cls, values: Float64, defined: Float64, artificial: int) -> Self:
        """Summarise the published list and the values that are defined."""

        def median(array: Float64) -> float:
            return float(np.median(array)) if len(array) else math.nan

        (mean, sd), (defined_mean, defined_sd) = mean_and_sd(values), mean_and_sd(defined)
        return cls(
            values=values,
            lists=len(values),
            artificial=artificial,
            defined=len(defined),
            mean=mean,
            median=median(values),
            sd=sd,
            min=float(values.min()) if len(values) else math.nan,
            max=float(values.max()) if len(values) else math.nan,
            defined_mean=defined_mean,
            defined_median=median(defined),
            defined_sd=defined_sd,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReferenceSample:
    """One sampled network and its spectrum by forward differences (docs/reference.md).

    Attributes
    ----------
    sample : int
        Its number, which seeded the draw.
    plan_sha256 : str
        Identity of the plan: see `SamplingPlan.digest`.
    neurons, counted_neurons : int
        Units drawn that read something, and those with more than 10 edges in range.
    edges, edges_in_range, edges_below, edges_above, zeros, nonfinite : int
        As for a `Group`, between sampled units only.
    artificial_edges : int
        The authors' edges from query, key and value units, of distance 1; beside `edges`.
    radii : int64 array, shape (m,)
        Radii fitted over: those at which a counted neuron has an edge.
    tau, tau_stderr, r2 : float64 array, shape (n_q,)
        Mass exponents and how well the lines fit.
    alpha, f : float64 array, shape (n_q - 1,)
        Forward differences of tau, and f with q and tau of their left ends.
    alpha_0, alpha_0_index : float, int or None
        alpha at the first largest f, and its position. Left and right of q = 0 they tie in exact
        arithmetic, so the last bit chooses between alpha[29] and alpha[30].
    alpha_0_derivative : float
        The derivative at q = 0, which lies between the two.
    width : float
        Largest minus smallest alpha.
    fractal_dimension : SampledDimension
        Of its neurons, with its own cutoff.
    undefined : str or None
        Why there are no exponents.
    """

    sample: int
    plan_sha256: str
    neurons: int
    counted_neurons: int
    edges: int
    edges_in_range: int
    edges_below: int
    edges_above: int
    zeros: int
    nonfinite: int
    artificial_edges: int
    radii: Int64
    tau: Float64
    tau_stderr: Float64
    r2: Float64
    alpha: Float64
    f: Float64
    alpha_0: float
    alpha_0_index: int | None
    alpha_0_derivative: float
    width: float
    fractal_dimension: SampledDimension
    undefined: str | None

    def passes(self, mode: int, tolerance: float = 0.0) -> bool:
        """Whether a filter mode keeps the sample.

        Parameters
        ----------
        mode : int
            0 keeps all; 1 drops it if some f is positive; 2 if some alpha lies more than 0.01
            above the first; 3 for either reason.
        tolerance : float
            How far above zero f may be; 0 as published, `TOLERANCE` against rounding noise.
        """
        above = bool((self.f > tolerance).any())
        wide = bool(self.alpha.max() - self.alpha[0] > WIDEST_STEP)
        return not (mode in (1, 3) and above) and not (mode in (2, 3) and wide)

    def to_dict(self, *, dimensions: bool = False) -> dict[str, Any]:
        """JSON-ready values; the single fractal dimensions only if asked for."""
        record = {f.name: plain(getattr(self, f.name)) for f in fields(self)}
        record["f_max"] = plain(float(self.f.max()))
        inner = self.fractal_dimension
        record["fractal_dimension"] = {
            f.name: plain(getattr(inner, f.name))
            for f in fields(inner)
            if f.name != "values" or dimensions
        }
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        inner = {"values": [], **record["fractal_dimension"]}
        return cls(
            **{
                f.name: _revive(str(f.type), record[f.name])
                for f in fields(cls)
                if f.name != "fractal_dimension"
            },
            fractal_dimension=SampledDimension(
                **{f.name: _revive(str(f.type), inner[f.name]) for f in fields(SampledDimension)}
            ),
        )


def _revive(kind: str, value: Any) -> Any:
    if kind == "Float64":
        return np.array(value, dtype=np.float64)
    if kind == "Int64":
        return np.array(value, dtype=np.int64)
    return math.nan if kind == "float" and value is None else value
