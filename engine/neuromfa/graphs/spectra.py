"""Exponents and spectrum of a graph from its partition functions, and intervals for a sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from neuromfa.graphs.counting import Counted, GroupSums
from neuromfa.graphs.settings import GraphProtocol
from neuromfa.jackknife import jackknife_stderr
from neuromfa.multifractal import (
    Float64,
    MassExponents,
    Spectrum,
    fit_alpha,
    fit_exponents,
    read_spectrum,
)

LEVEL = 0.95
GROUPS = 20
"""Groups that a random sample is cut into, to find an interval from."""
TIE = 1e-9
"""How close to the largest f another counts as largest: forward differences tie at q = 0."""


class Fit(NamedTuple):
    """Exponents and spectrum."""

    exponents: MassExponents
    spectrum: Spectrum


def fit(sums: GroupSums, radii: Float64, q: Float64, protocol: GraphProtocol) -> Fit:
    """Fit a graph's exponents and read its spectrum (definitions, sections 4 and 7).

    Parameters
    ----------
    sums : GroupSums
        At `radii`.
    radii : float64 array, shape (m,)
        All of them are fitted over.
    q : float64 array, shape (n_q,)
        Moments of the sums: the protocol's, and zero.
    protocol : GraphProtocol
        Its moments, and how alpha is found.
    """
    if not sums.counted:
        return _undefined(radii, q, "no node that was to be measured reaches another")
    if len(radii) < 2:
        return _undefined(radii, q, f"a slope needs two radii, and nodes are found at {len(radii)}")
    exponents = fit_exponents(sums.Z, sums.counted, radii)
    asked = np.isin(q, protocol.q)
    if protocol.differences == "forward":
        return Fit(exponents, _forward(exponents.tau, q, asked))
    alpha = fit_alpha(sums.Z_log / sums.Z, radii)
    return Fit(
        exponents,
        read_spectrum(exponents.tau, alpha, float(alpha[q == 0][0]), q=q, asked=asked),
    )


def _undefined(radii: Float64, q: Float64, reason: str) -> Fit:
    nan = np.full(len(q), np.nan)
    exponents = MassExponents(radii, nan, nan, nan, nan, reason)
    return Fit(exponents, Spectrum(nan, nan, nan, nan, np.nan, np.nan, np.nan, None))


def _forward(tau: Float64, q: Float64, asked: Any) -> Spectrum:
    """Authors' alpha: quotients of differences of tau over the moments asked for, none at the last.

    alpha_0 is the alpha where f is largest, the first of those that tie.
    """
    alpha = np.full(len(q), np.nan)
    at = np.flatnonzero(asked)
    alpha[at[:-1]] = np.diff(tau[at]) / np.diff(q[at])
    known = ~np.isnan(alpha)
    f = (q * alpha - tau)[known]
    alpha_0 = float(alpha[known][np.argmax(f >= f.max() - TIE)])
    return read_spectrum(tau, alpha, alpha_0, q=q, asked=known)


def sampling_interval(
    fitted: Fit,
    total: GroupSums,
    counted: Counted,
    *,
    q: Float64,
    protocol: GraphProtocol,
    share: float,
) -> dict[str, Any] | None:
    """Intervals for the numbers of all nodes, from a sample (definitions, section 7).

    Delete-one-group jackknife over the groups of the sample, Student's t, and the correction for a
    sample that is a good part of all.

    Parameters
    ----------
    fitted, total, counted : Fit, GroupSums, Counted
        Of the sample.
    q : float64 array, shape (n_q,)
        Moments of the sums.
    protocol : GraphProtocol
        As for the sample.
    share : float
        Size of the sample over that of what it is drawn from.

    Returns
    -------
    dict or None
        None with fewer than two groups, or if a replicate has no exponents.
    """
    groups = [group for group in counted.groups if group.counted]
    if len(groups) < 2:
        return None
    replicates = []
    for group in groups:
        rest = GroupSums(
            total.Z - group.Z, total.Z_log - group.Z_log, total.counted - group.counted
        )
        replicate = fit(rest, counted.radii, q, protocol)
        if replicate.exponents.undefined:
            return None
        replicates.append(_numbers(replicate))
    errors, half = sampling_errors(np.array(replicates), share)
    middle = _numbers(fitted)
    asked = np.isin(q, protocol.q)
    n = len(q)
    places: dict[str, Any] = {
        "alpha_0": 0,
        "width": 1,
        "tau": slice(2, 2 + n),
        "generalised_dimension": slice(2 + n, 2 + 2 * n),
    }
    found: dict[str, Any] = {"level": LEVEL, "groups": len(groups)}
    for name, at in places.items():
        columns = (errors[at], middle[at] - half[at], middle[at] + half[at])
        values = [c[asked].tolist() if isinstance(at, slice) else float(c) for c in columns]
        found[name] = dict(zip(("stderr", "low", "high"), values, strict=True))
    return found


def sampling_errors(replicates: Float64, share: float) -> tuple[Float64, Float64]:
    """Standard errors and half intervals [k] from delete-one-group replicates [groups, k].

    Student's t at `LEVEL`; corrected for a sample that is a good part, `share`, of all.
    """
    from scipy.stats import t as student  # noqa: PLC0415  (optional, slow to import)

    errors = jackknife_stderr(replicates) * np.sqrt(1 - share)
    return errors, float(student.ppf((1 + LEVEL) / 2, len(replicates) - 1)) * errors


def _numbers(found: Fit) -> Float64:
    """alpha_0, width, tau and D(q) in one row."""
    curve = found.spectrum
    return np.array(
        [curve.alpha_0, curve.width, *found.exponents.tau, *curve.generalised_dimension]
    )
