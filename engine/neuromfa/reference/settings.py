"""The settings of the authors' procedure, beside those of the exact one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from neuromfa.errors import UsageError
from neuromfa.protocol import MAX_CUTOFF, Protocol
from neuromfa.reference.sampling import LARGEST_SEED


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceProtocol:
    """All settings that define a result of the reference protocol (docs/reference.md).

    What the authors never vary is not a setting: moments -3, -2.9, ..., 3, neurons with more than
    10 edges in range, the union of the radii of a sampled network, forward differences.

    Attributes
    ----------
    sample_size : int
        Units drawn of each layer; twice as many of the hidden units of an MLP.
    samples : int
        Sampled networks: the seeds 0, 1, ....
    cutoff : float
        Largest distance T that counts for the spectrum.
    dimension_cutoff : float
        Largest distance that counts for the neuron fractal dimensions.
    nonfinite : {"error", "drop"}
        Sampled weights that are NaN or infinite stop the analysis, or are never in range, as the
        authors have it.
    """

    sample_size: int = 64
    samples: int = 10
    cutoff: float = 150.0
    dimension_cutoff: float = 200.0
    nonfinite: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        for name in ("sample_size", "samples"):
            value = getattr(self, name)
            if value != int(value) or value < 1:
                raise UsageError(f"{name} {value}: must be a whole number of at least 1")
            object.__setattr__(self, name, int(value))
        if self.samples > LARGEST_SEED:
            raise UsageError(f"samples {self.samples:,}: there are {LARGEST_SEED:,} seeds")
        object.__setattr__(self, "dimension_cutoff", float(self.dimension_cutoff))
        if not (math.isfinite(self.dimension_cutoff) and 1 < self.dimension_cutoff <= MAX_CUTOFF):
            raise UsageError(
                f"dimension_cutoff {self.dimension_cutoff:g}: must be above 1 and at most "
                f"{MAX_CUTOFF}"
            )
        object.__setattr__(self, "cutoff", self.spectrum.cutoff)

    @property
    def spectrum(self) -> Protocol:
        """What the exact analysis calls the same settings."""
        return Protocol(cutoff=self.cutoff, nonfinite=self.nonfinite)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record of every setting, fixed ones included."""
        fixed = self.spectrum
        return {
            "name": "reference",
            "sample_size": self.sample_size,
            "samples": self.samples,
            "cutoff": self.cutoff,
            "dimension_cutoff": self.dimension_cutoff,
            "min_neighbours": fixed.min_neighbours,
            "q": list(fixed.q),
            "radii": fixed.radii,
            "differences": "forward",
            "nonfinite": self.nonfinite,
        }
