"""From partition functions to the multifractal spectrum: arrays in, arrays out.

Partition functions add over neurons, so those of a block, a role or the network are the sum of
its layers', and a jackknife replicate is a subtraction. See definitions, sections 3, 4 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from neuromfa.protocol import Protocol

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Radii = npt.NDArray[Any]
"""Whole numbers in a network of neurons; any positive lengths in other graphs."""

CONCAVE_TOLERANCE = 1e-9
"""How far alpha may rise from one q to the next before tau is called not concave: the spec's
tolerance on alpha."""


def moments(protocol: Protocol) -> Float64:
    """Moments q to sum over: the protocol's and zero, which alpha_0 needs.

    Returns
    -------
    float64 array, shape (n_q,)
        Strictly increasing.
    """
    return np.unique(np.array([*protocol.q, 0.0]))


@dataclass(frozen=True, slots=True, eq=False)
class PartitionSums:
    """Sums over the counted neurons of a group, and what was counted on the way; additive.

    Attributes
    ----------
    q : float64 array, shape (n_q,)
        Moments.
    Z, Z_log : float64 array, shape (n_q, n_radii)
        Sum of p^q and of p^q ln p over counted neurons, for the radii 1..n_radii.
    observed : int64 array, shape (n_radii,)
        Number of counted neurons that have an edge at that radius.
    neurons, counted : int
        All neurons, and those with more than ``min_neighbours`` edges in range.
    edges : int
        Finite weights other than zero.
    edges_below, edges_above : int
        Edges with d <= 1 and with d > cutoff.
    zeros, nonfinite : int
        Weights that are exactly zero, and NaN or infinite ones that were dropped.
    """

    q: Float64
    Z: Float64
    Z_log: Float64
    observed: Int64
    neurons: int = 0
    counted: int = 0
    edges: int = 0
    edges_below: int = 0
    edges_above: int = 0
    zeros: int = 0
    nonfinite: int = 0

    @classmethod
    def empty(cls, q: Float64, n_radii: int) -> Self:
        """Sums over no neuron at all."""
        shape = (len(q), n_radii)
        return cls(q, np.zeros(shape), np.zeros(shape), np.zeros(n_radii, np.int64))

    def __add__(self, other: Self) -> Self:
        return self._combine(other, 1)

    def __sub__(self, other: Self) -> Self:
        return self._combine(other, -1)

    def _combine(self, other: Self, sign: int) -> Self:
        parts: dict[str, Any] = {
            field.name: getattr(self, field.name) + sign * getattr(other, field.name)
            for field in fields(self)
            if field.name != "q"
        }
        return type(self)(self.q, **parts)


@dataclass(frozen=True, slots=True, eq=False)
class MassExponents:
    """Straight lines through ln Z_q against ln(r / r_max), one for each moment.

    Attributes
    ----------
    radii : int64 or float64 array, shape (m,)
        Radii fitted over.
    tau, intercept, tau_stderr, r2 : float64 array, shape (n_q,)
        Slope, value at r_max, standard error of the slope, coefficient of determination (NaN
        where Z does not depend on r, as for q = 0).
    undefined : str or None
        Why there are none; the arrays are then NaN.
    """

    radii: Radii
    tau: Float64
    intercept: Float64
    tau_stderr: Float64
    r2: Float64
    undefined: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """The multifractal spectrum and the numbers read from it.

    Attributes
    ----------
    alpha, f : float64 array, shape (n_q,)
        Lipschitz-Hoelder exponents and the spectrum at the same q.
    generalised_dimension, specific_heat : float64 array, shape (n_q,)
        D(q) = tau(q)/q, alpha_0 at q = 0; C(q) = -d alpha/dq by central differences.
    alpha_0, width, asymmetry : float
        Regularity, heterogeneity, and ln((alpha_0 - alpha_min)/(alpha_max - alpha_0)); NaN where
        undefined.
    concave : bool or None
        Whether tau is concave, as it is for a measure in the strict sense.
    """

    alpha: Float64
    f: Float64
    generalised_dimension: Float64
    specific_heat: Float64
    alpha_0: float
    width: float
    asymmetry: float
    concave: bool | None


def radius_grid(sums: PartitionSums, protocol: Protocol) -> Int64:
    """Radii to fit over (definitions, section 4).

    Returns
    -------
    int64 array, shape (m,)
        1..n_radii, or those at which some counted neuron has an edge.
    """
    everything = np.arange(1, len(sums.observed) + 1, dtype=np.int64)
    return everything if protocol.radii == "all" else everything[sums.observed > 0]


def _line(x: Float64, y: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """Least squares of each row of `y` on `x`: slope, intercept, standard error, r^2."""
    dx = x - x.mean()
    mean = y.mean(axis=1)
    dy = y - mean[:, None]
    sxx = (dx * dx).sum()
    syy = (dy * dy).sum(axis=1)
    slope = (dx * dy).sum(axis=1) / sxx
    residual = dy - slope[:, None] * dx
    rss = (residual * residual).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        stderr = np.sqrt(rss / (len(x) - 2) / sxx) if len(x) > 2 else np.full(len(y), np.nan)
        r2 = np.where(syy > 0, 1 - rss / syy, np.nan)
    return slope, mean - slope * x.mean(), stderr, r2


def mass_exponents(sums: PartitionSums, protocol: Protocol) -> MassExponents:
    """Fit tau(q), the slope of ln Z_q(r) over ln r (definitions, section 4).

    Parameters
    ----------
    sums : PartitionSums
        Of any group of layers.
    protocol : Protocol
        Decides the radius grid.

    Returns
    -------
    MassExponents
        For the moments of `sums`; NaN with a reason where they are undefined.

    References
    ----------
    NeuroMFA (ICLR 2025), equations 4 and 5.
    """
    radii = radius_grid(sums, protocol)
    if sums.counted == 0:
        reason = f"no neuron has more than {protocol.min_neighbours} edges with 1 < d <= cutoff"
    elif len(radii) < 2:
        reason = f"a slope needs two radii, and counted neurons have edges at {len(radii)}"
    else:
        return fit_exponents(sums.Z[:, radii - 1], sums.counted, radii)
    nan = np.full(len(sums.q), np.nan)
    return MassExponents(radii, nan, nan, nan, nan, reason)


def fit_exponents(Z: Float64, counted: int, radii: Radii) -> MassExponents:
    """Fit tau(q) to partition functions at given radii, at least two of them.

    Parameters
    ----------
    Z : float64 array, shape (n_q, m)
        Partition functions at `radii`.
    counted : int
        Number of terms in each sum, which is Z_0.
    radii : int64 or float64 array, shape (m,)
        Positive and increasing.
    """
    # ln Z - ln n is exactly zero for q = 0, and the constant drops out of the slope: tau(0) is
    # exactly 0.
    log_n = np.log(float(counted))
    tau, intercept, stderr, r2 = _line(np.log(radii / radii[-1]), np.log(Z) - log_n)
    return MassExponents(radii, tau, intercept + log_n, stderr, r2)


def spectrum(sums: PartitionSums, exponents: MassExponents, protocol: Protocol) -> Spectrum:
    """Read alpha(q) and f(alpha) from the direct sums (definitions, section 4).

    alpha is the slope of Z_log/Z, the exact derivative of tau, not a difference quotient.

    Parameters
    ----------
    sums : PartitionSums
        The sums that `exponents` were fitted to.
    exponents : MassExponents
        From `mass_exponents`.
    protocol : Protocol
        Its moments are the ones `width` and `specific_heat` run over.

    Returns
    -------
    Spectrum
        Arrays for the moments of `sums`; all NaN if the exponents are undefined.

    References
    ----------
    Chhabra and Jensen, Physical Review Letters 62, 1327 (1989); NeuroMFA (ICLR 2025), section 3.
    """
    q = sums.q
    nan = np.full(len(q), np.nan)
    if exponents.undefined:
        return Spectrum(nan, nan, nan, nan, np.nan, np.nan, np.nan, None)
    at = exponents.radii - 1
    alpha = fit_alpha(sums.Z_log[:, at] / sums.Z[:, at], exponents.radii)
    alpha_0 = float(alpha[q == 0][0])
    return read_spectrum(exponents.tau, alpha, alpha_0, q=q, asked=np.isin(q, protocol.q))


def fit_alpha(ratios: Float64, radii: Radii) -> Float64:
    """Slopes of Z_log/Z, float64 [n_q, m], on ln r: the derivative of tau with respect to q."""
    return _line(np.log(radii / radii[-1]), ratios)[0]


def read_spectrum(
    tau: Float64, alpha: Float64, alpha_0: float, *, q: Float64, asked: npt.NDArray[np.bool_]
) -> Spectrum:
    """Read f, D(q), C(q) and the numbers of the spectrum from tau and alpha.

    Parameters
    ----------
    tau, alpha, q : float64 array, shape (n_q,)
        Mass exponents, their derivatives, and moments.
    alpha_0 : float
        Regularity.
    asked : bool array, shape (n_q,)
        Moments that `width`, `asymmetry`, `specific_heat` and `concave` run over.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        dimension = np.where(q == 0, alpha_0, tau / q)
    of_q = alpha[asked]
    heat = np.full(len(q), np.nan)
    if len(of_q) > 1:
        heat[asked] = -np.gradient(of_q, q[asked])
    left, right = alpha_0 - of_q.min(), of_q.max() - alpha_0
    return Spectrum(
        alpha=alpha,
        f=q * alpha - tau,
        generalised_dimension=dimension,
        specific_heat=heat,
        alpha_0=alpha_0,
        width=float(of_q.max() - of_q.min()),
        asymmetry=float(np.log(left / right)) if left > 0 and right > 0 else np.nan,
        concave=bool((np.diff(of_q) <= CONCAVE_TOLERANCE).all()),
    )
