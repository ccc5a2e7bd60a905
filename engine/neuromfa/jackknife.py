"""Standard errors from leaving out one part of a network at a time (definitions, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neuromfa.multifractal import Float64, PartitionSums, mass_exponents, spectrum
from neuromfa.protocol import Protocol


@dataclass(frozen=True, slots=True, eq=False)
class Jackknife:
    """Standard errors from leaving out one part at a time (definitions, section 6).

    Attributes
    ----------
    left_out : tuple of str
        Parts left out in turn.
    alpha_0, width : float64 array, shape (n_parts,)
        Regularity and heterogeneity without each of them.
    tau_stderr : float64 array, shape (n_q,)
        Standard error of each mass exponent.
    alpha_0_stderr, width_stderr : float
        Standard errors of regularity and heterogeneity.
    """

    left_out: tuple[str, ...]
    alpha_0: Float64
    width: Float64
    tau_stderr: Float64
    alpha_0_stderr: float
    width_stderr: float


def jackknife(
    total: PartitionSums, parts: Mapping[str, PartitionSums], protocol: Protocol
) -> Jackknife | None:
    """Delete-one-part standard errors of tau, alpha_0 and width.

    Parameters
    ----------
    total : PartitionSums
        The sum of all `parts`.
    parts : mapping of str to PartitionSums
        Blocks, or layers where there are no blocks. Parts without a counted neuron change
        nothing when left out and are not used.
    protocol : Protocol
        As for the full result; each replicate fits its own radius grid.

    Returns
    -------
    Jackknife or None
        None with fewer than two parts, or if some replicate has no exponents.
    """
    parts = {name: part for name, part in parts.items() if part.counted}
    if len(parts) < 2:
        return None
    replicates = []
    for part in parts.values():
        rest = total - part
        exponents = mass_exponents(rest, protocol)
        if exponents.undefined:
            return None
        curve = spectrum(rest, exponents, protocol)
        replicates.append(np.array([curve.alpha_0, curve.width, *exponents.tau]))
    values = np.array(replicates)
    stderr = jackknife_stderr(values)
    return Jackknife(
        tuple(parts), values[:, 0], values[:, 1], stderr[2:], float(stderr[0]), float(stderr[1])
    )


def jackknife_stderr(replicates: Float64) -> Float64:
    """Standard error of each column from its delete-one replicates, float64 [n_parts, ...]."""
    n = len(replicates)
    spread = replicates - replicates.mean(axis=0)
    error: Float64 = np.sqrt((n - 1) / n * (spread * spread).sum(axis=0))
    return error
