"""Standard errors from leaving out one part of a network at a time (definitions, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuromfa.multifractal import Float64, PartitionSums, mass_exponents, spectrum
from neuromfa.protocol import Protocol


@dataclass(frozen=True, slots=True, eq=False)
class Jackknife:
    """Standard errors from leaving out one part at a time (definitions, section 6).

    Attributes
    ----------
    parts : int
        Number of parts left out in turn.
    tau_stderr : float64 array, shape (n_q,)
        Standard error of each mass exponent.
    alpha_0_stderr, width_stderr : float
        Standard errors of regularity and heterogeneity.
    """

    parts: int
    tau_stderr: Float64
    alpha_0_stderr: float
    width_stderr: float


def jackknife(
    total: PartitionSums, parts: Sequence[PartitionSums], protocol: Protocol
) -> Jackknife | None:
    """Delete-one-part standard errors of tau, alpha_0 and width.

    Parameters
    ----------
    total : PartitionSums
        The sum of all `parts`.
    parts : sequence of PartitionSums
        Blocks, or layers where there are no blocks. Parts without a counted neuron change
        nothing when left out and are not used.
    protocol : Protocol
        As for the full result; each replicate fits its own radius grid.

    Returns
    -------
    Jackknife or None
        None with fewer than two parts, or if some replicate has no exponents.
    """
    parts = [part for part in parts if part.counted]
    if len(parts) < 2:
        return None
    replicates = []
    for part in parts:
        rest = total - part
        exponents = mass_exponents(rest, protocol)
        if exponents.undefined:
            return None
        curve = spectrum(rest, exponents, protocol)
        replicates.append(np.array([curve.alpha_0, curve.width, *exponents.tau]))
    stderr = jackknife_stderr(np.array(replicates))
    return Jackknife(len(parts), stderr[2:], float(stderr[0]), float(stderr[1]))


def jackknife_stderr(replicates: Float64) -> Float64:
    """Delete-one standard errors [k] of k statistics from their replicates, float64 [parts, k]."""
    n = len(replicates)
    spread = replicates - replicates.mean(axis=0)
    errors: Float64 = np.sqrt((n - 1) / n * (spread * spread).sum(axis=0))
    return errors
