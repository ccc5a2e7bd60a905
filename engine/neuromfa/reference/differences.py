"""The authors' spectrum of one network: forward differences of the mass exponents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuromfa.multifractal import (
    Float64,
    Int64,
    MassExponents,
    PartitionSums,
    mass_exponents,
    moments,
    spectrum,
)
from neuromfa.protocol import Protocol
from neuromfa_kernels import partition_function


@dataclass(frozen=True, slots=True, eq=False)
class ForwardSpectrum:
    """Spectrum by differences, beside the fits and the derivative (docs/reference.md).

    Attributes
    ----------
    fit : MassExponents
        Straight lines, with their quality at every q.
    counted : int
        Counted neurons.
    tau : float64 array, shape (n_q,)
        Slopes of `fit`, rounded as the authors' scripts round them.
    alpha, f : float64 array, shape (n_q - 1,)
        Difference quotients to the right, paired with q and tau on the left.
    index : int or None
        Of the first largest f; None where there are no exponents.
    derivative : float
        d tau / dq at q = 0.
    """

    fit: MassExponents
    counted: int
    tau: Float64
    alpha: Float64
    f: Float64
    index: int | None
    derivative: float

    @property
    def alpha_0(self) -> float:
        """The alpha of the largest f; NaN where there is none."""
        return float("nan") if self.index is None else float(self.alpha[self.index])

    @property
    def width(self) -> float:
        """Largest minus smallest alpha."""
        return float(self.alpha.max() - self.alpha.min())


def forward_spectrum(counts: npt.NDArray[np.uint32], protocol: Protocol) -> ForwardSpectrum:
    """Fit the neighbour counts of one network as the authors do.

    Parameters
    ----------
    counts : uint32 array, shape (n_radii, n_neurons)
        n_i(r) of all its neurons.
    protocol : Protocol
        Cutoff, moments, radii, and how many neighbours a counted neuron has.
    """
    q = moments(protocol)
    tiles = partition_function(counts, q, min_neighbours=protocol.min_neighbours, threads=1)
    Z, Z_log = np.zeros((2, len(q), len(counts)))
    for tile, tile_log in zip(tiles.Z, tiles.Z_log, strict=True):
        Z += tile
        Z_log += tile_log
    sums = PartitionSums(q, Z, Z_log, tiles.observed, counted=tiles.counted)
    fit = mass_exponents(sums, protocol)
    tau = fit.tau if fit.undefined else _covariance_slopes(sums, fit.radii)
    alpha = np.diff(tau) / np.diff(q)
    f = q[:-1] * alpha - tau[:-1]
    return ForwardSpectrum(
        fit,
        tiles.counted,
        tau,
        alpha,
        f,
        None if fit.undefined else int(np.argmax(f)),
        spectrum(sums, fit, protocol).alpha_0,
    )


def _covariance_slopes(sums: PartitionSums, radii: Int64) -> Float64:
    """Mass exponents by the covariances of ln Z_q with ln(r / r_max), as the scripts fit them.

    The same as `mass_exponents` but for rounding. It is done once more because the last bit of
    tau(0) decides which of two ties is called alpha_0, and which samples a filter mode drops.
    """
    x = np.log(radii / radii[-1])
    covariances = [np.cov(x, np.log(Z[radii - 1]), bias=True) for Z in sums.Z]
    return np.array([c[0, 1] / c[0, 0] for c in covariances])
