"""The authors' spectrum of one network: forward differences of the mass exponents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuromfa.multifractal import (
    Float64,
    MassExponents,
    PartitionSums,
    mass_exponents,
    moments,
    spectrum,
)
from neuromfa.protocol import Protocol
from neuromfa_kernels import TILE, partition_function


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
    tau = fit.tau if fit.undefined else _scripted_slopes(counts, sums, fit, protocol)
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


def _scripted_slopes(
    counts: npt.NDArray[np.uint32], sums: PartitionSums, fit: MassExponents, protocol: Protocol
) -> Float64:
    """Mass exponents rounded as the scripts round them, where the last bit matters.

    The same as `fit.tau` but for rounding. Of the two ties that may be called alpha_0, and of
    the samples that a filter mode drops, the last bits of tau at zero and at the q before it
    decide: so slopes are taken through covariances, and that one sum neuron after neuron.
    """
    Z, at = sums.Z.copy(), fit.radii - 1
    before = int(np.searchsorted(sums.q, 0.0)) - 1
    if before >= 0:
        Z[before] = sum_in_order(counts, float(sums.q[before]), protocol.min_neighbours)
    x = np.log(fit.radii / fit.radii[-1])
    covariances = [np.cov(x, np.log(of_q[at]), bias=True) for of_q in Z]
    return np.array([c[0, 1] / c[0, 0] for c in covariances])


def sum_in_order(counts: npt.NDArray[np.uint32], q: float, few: int) -> Float64:
    """Sum of p^q over the counted neurons, one after another, each power rounded once.

    Parameters
    ----------
    counts : uint32 array, shape (n_radii, n_neurons)
        Neighbour counts.
    q : float
        Moment.
    few : int
        A neuron is counted if it has more neighbours than this.

    Returns
    -------
    float64 array, shape (n_radii,)
    """
    total: Float64 = np.zeros(len(counts))
    of_neuron = counts.T
    for first in range(0, len(of_neuron), TILE):
        within = of_neuron[first : first + TILE].cumsum(axis=1, dtype=np.int64)
        within = within[within[:, -1] > few] + 1
        for powers in (within / within[:, -1:]) ** q:
            total += powers
    return total
