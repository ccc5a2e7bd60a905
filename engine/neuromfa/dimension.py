"""Summary of neuron fractal dimensions: additive, so that groups of layers have one too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from neuromfa.multifractal import Float64, Int64

BINS = np.linspace(0.0, 10.0, 201)
"""Edges of the histogram; what lies at or above the last is counted in one more bin."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True, eq=False)
class DimensionSummary:
    """How the neuron fractal dimensions of a group are distributed (definitions, section 5).

    Attributes
    ----------
    too_few_edges, one_radius : int
        Neurons whose dimension is undefined, by reason.
    defined : int
        Neurons that have one.
    mean, squares : float
        Mean, and sum of squared distances from it, over the defined ones.
    smallest, largest : float
        Infinite with the sign that makes them neutral where none is defined.
    histogram : int64 array, shape (201,)
        Counts in the bins of `BINS`, the last for all that is larger.
    quantiles : float64 array, shape (5,), or None
        At `QUANTILES`; exact, so only where the single values are at hand: for a layer.
    """

    too_few_edges: int
    one_radius: int
    defined: int
    mean: float
    squares: float
    smallest: float
    largest: float
    histogram: Int64
    quantiles: Float64 | None = None

    @classmethod
    def of(cls, values: Float64, too_few_edges: int) -> Self:
        """Summarise the values of a layer.

        Parameters
        ----------
        values : float64 array, shape (n_neurons,)
            Neuron fractal dimensions, NaN where undefined.
        too_few_edges : int
            How many of the NaN are for want of edges; the others had a single radius.
        """
        known = values[~np.isnan(values)]
        counts = np.append(np.histogram(known, BINS)[0], (known > BINS[-1]).sum())
        mean = float(known.mean()) if len(known) else 0.0
        return cls(
            too_few_edges,
            len(values) - len(known) - too_few_edges,
            len(known),
            mean,
            float(((known - mean) ** 2).sum()),
            float(known.min(initial=np.inf)),
            float(known.max(initial=-np.inf)),
            counts,
            np.quantile(known, QUANTILES) if len(known) else None,
        )

    def __add__(self, other: Self) -> Self:
        n = self.defined + other.defined
        delta = other.mean - self.mean
        share = other.defined / n if n else 0.0
        return type(self)(
            self.too_few_edges + other.too_few_edges,
            self.one_radius + other.one_radius,
            n,
            self.mean + delta * share,
            self.squares + other.squares + delta * delta * self.defined * share,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
            self.histogram + other.histogram,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record; standard deviation with n - 1."""
        known = self.defined > 0
        return {
            "defined": self.defined,
            "too_few_edges": self.too_few_edges,
            "one_radius": self.one_radius,
            "mean": self.mean if known else None,
            "sd": (self.squares / (self.defined - 1)) ** 0.5 if self.defined > 1 else None,
            "min": self.smallest if known else None,
            "max": self.largest if known else None,
            "quantiles": None
            if self.quantiles is None
            else {f"{p:g}": float(v) for p, v in zip(QUANTILES, self.quantiles, strict=True)},
            "histogram": {"bin_width": float(BINS[1]), "counts": self.histogram.tolist()},
        }
