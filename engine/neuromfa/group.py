"""One group of layers and its exponents: plain values, and the JSON that stands for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from neuromfa.multifractal import Float64, Int64, MassExponents, Spectrum
from neuromfa.records import from_plain, to_plain


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Group:
    """One group of layers and its multifractal analysis; every array runs over `q` but `radii`.

    Attributes
    ----------
    name, block, role : str or None
        The group's name; a layer also has the block and role it belongs to.
    tensors : tuple of str
        For a layer, the tensors whose weights are its edges; else empty.
    neurons, counted_neurons : int
        All neurons, and those with more than ``min_neighbours`` edges in range.
    edges, edges_in_range, edges_below, edges_above : int
        Non-zero finite weights; those with 1 < d <= cutoff, d <= 1 and d > cutoff.
    zeros, nonfinite : int
        Weights that are exactly zero, and NaN or infinite ones that were dropped.
    radii : int64 array, shape (m,)
        Radii fitted over.
    q, tau, tau_stderr, intercept, r2 : float64 array, shape (n_q,)
        Moments, mass exponents, least squares standard errors, ln Z_q at r_max, fit quality.
    alpha, f, generalised_dimension, specific_heat : float64 array, shape (n_q,)
        The spectrum and what is derived from it.
    alpha_0, width, asymmetry, r2_min : float
        Regularity, heterogeneity, asymmetry, the smallest r^2 over q; NaN where undefined.
    concave : bool or None
        Whether tau is concave.
    jackknife : mapping or None
        ``over``, ``parts``, ``tau_stderr``, ``alpha_0_stderr``, ``width_stderr``; and, for
        standard errors of what is made of several analyses, ``left_out``, ``alpha_0``, ``width``.
    fractal_dimension : mapping
        Summary of the neuron fractal dimensions.
    undefined : str or None
        Why there are no exponents.

    References
    ----------
    Definitions, sections 0 and 4 to 6.
    """

    name: str
    block: str | None
    role: str | None
    tensors: tuple[str, ...]
    neurons: int
    counted_neurons: int
    edges: int
    edges_in_range: int
    edges_below: int
    edges_above: int
    zeros: int
    nonfinite: int
    radii: Int64
    q: Float64
    tau: Float64
    tau_stderr: Float64
    intercept: Float64
    r2: Float64
    alpha: Float64
    f: Float64
    generalised_dimension: Float64
    specific_heat: Float64
    alpha_0: float
    width: float
    asymmetry: float
    r2_min: float
    concave: bool | None
    jackknife: Mapping[str, Any] | None
    fractal_dimension: Mapping[str, Any]
    undefined: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values: lists for arrays, None for NaN."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return from_plain(cls, record)


def fitted_fields(
    exponents: MassExponents, curve: Spectrum, asked: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """What records take from a fit, by name, at the moments that were asked for."""
    r2 = exponents.r2[asked]
    return {
        "tau": exponents.tau[asked],
        "tau_stderr": exponents.tau_stderr[asked],
        "intercept": exponents.intercept[asked],
        "r2": r2,
        "alpha": curve.alpha[asked],
        "f": curve.f[asked],
        "generalised_dimension": curve.generalised_dimension[asked],
        "specific_heat": curve.specific_heat[asked],
        "alpha_0": curve.alpha_0,
        "width": curve.width,
        "asymmetry": curve.asymmetry,
        "r2_min": float(np.fmin.reduce(r2)),
        "concave": curve.concave,
    }


def scalar_row(kind: str, group: Group) -> dict[str, Any]:
    """The row of a group in the table ``groups``."""
    row = group.to_dict()
    errors = row.pop("jackknife") or {}
    dimension = row.pop("fractal_dimension")
    arrays = {f.name for f in fields(group) if f.type == "Float64"}
    return {
        "kind": kind,
        **{name: value for name, value in row.items() if name not in arrays},
        "alpha_0_stderr": errors.get("alpha_0_stderr"),
        "width_stderr": errors.get("width_stderr"),
        "fractal_dimension_mean": dimension["mean"],
        "fractal_dimension_sd": dimension["sd"],
    }


def moment_rows(kind: str, group: Group) -> dict[str, Any]:
    """The rows of a group in the table ``spectra``, as columns."""
    n_q = len(group.q)
    names = {"kind": kind, "name": group.name, "block": group.block, "role": group.role}
    return {
        **{name: [value] * n_q for name, value in names.items()},
        **{f.name: getattr(group, f.name) for f in fields(group) if f.type == "Float64"},
        "tau_jackknife_stderr": (group.jackknife or {}).get("tau_stderr", np.full(n_q, np.nan)),
    }
