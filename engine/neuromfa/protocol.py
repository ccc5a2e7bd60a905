"""The protocol: every setting that can change a number of a result.

Resources (threads, memory, devices) are not here: they may never change a bit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from neuromfa.errors import UsageError

MAX_CUTOFF = 4000
INCLUDABLE = ("convolution", "embedding", "head", "position")
"""Kinds of matrices outside the blocks that can be analysed on request."""

RELATIVE_SCALE = 50.0
"""Radius of a weight as large as its tensor's root mean square: for a root mean square of 0.02,
with which most language models begin, relative and inverse distances are the same."""

_CHOICES = {
    "distance": ("inverse", "relative"),
    "radii": ("observed", "all"),
    "experts": ("joint", "separate"),
    "nonfinite": ("error", "drop"),
}


def q_grid(first: float, last: float, step: float) -> tuple[float, ...]:
    """Equally spaced moments q from `first` to `last`, both included.

    Each value is the decimal number nearest to first + k * step, so that zero is exactly zero.

    Parameters
    ----------
    first, last, step : float
        Ends and spacing of the grid, dimensionless.

    Raises
    ------
    UsageError
        If the step is not positive or the ends are in the wrong order.

    Examples
    --------
    >>> from neuromfa import q_grid
    >>> q_grid(-1, 1, 0.5)
    (-1.0, -0.5, 0.0, 0.5, 1.0)
    """
    if not (all(map(math.isfinite, (first, last, step))) and step > 0 and last >= first):
        raise UsageError(f"q grid {first}:{last}:{step}: needs first <= last and a positive step")
    n = round((last - first) / step) + 1
    return tuple(round(first + k * step, 12) + 0.0 for k in range(n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """All settings that define a result (definitions, sections 2 to 5).

    Attributes
    ----------
    cutoff : float
        Largest distance T that counts, dimensionless; above 1 and at most 4,000.
    min_neighbours : int
        A neuron is counted if it has more than this many edges with 1 < d <= T.
    q : tuple of float
        Moments, strictly increasing.
    radii : {"observed", "all"}
        Fit over the radii at which a counted neuron of the group has an edge, or over 1..T.
    experts : {"joint", "separate"}
        Whether all experts of a mixture form one layer, or each expert a layer of its own.
    nonfinite : {"error", "drop"}
        NaN and infinite weights stop the analysis, or are counted and left out.
    include : tuple of str
        Matrices outside the blocks to analyse as well: see `INCLUDABLE`.
    distance : {"inverse", "relative"}
        d = 1/abs(w), or d = s/abs(w) with s the root mean square of the weight's tensor times
        `relative_scale`.
    relative_scale : float, optional
        Only for relative distances; `RELATIVE_SCALE` by default.

    Examples
    --------
    >>> from neuromfa import Protocol
    >>> protocol = Protocol(cutoff=200, min_neighbours=5)
    >>> protocol.n_radii, protocol.to_dict()["distance"]
    (200, 'inverse')
    """

    cutoff: float = 150.0
    min_neighbours: int = 10
    q: tuple[float, ...] = q_grid(-3.0, 3.0, 0.1)
    radii: Literal["observed", "all"] = "observed"
    experts: Literal["joint", "separate"] = "joint"
    nonfinite: Literal["error", "drop"] = "error"
    include: tuple[str, ...] = ()
    distance: Literal["inverse", "relative"] = "inverse"
    relative_scale: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cutoff", float(self.cutoff))
        object.__setattr__(self, "q", tuple(float(q) + 0.0 for q in self.q))
        object.__setattr__(self, "include", tuple(sorted(set(self.include))))
        if not 1 < self.cutoff <= MAX_CUTOFF:  # also refuses NaN
            raise UsageError(f"cutoff {self.cutoff:g}: must be above 1 and at most {MAX_CUTOFF}")
        if self.min_neighbours != int(self.min_neighbours) or self.min_neighbours < 0:
            raise UsageError(f"min_neighbours {self.min_neighbours}: must be a whole number >= 0")
        if not self.q:
            raise UsageError("q: the list is empty; give at least one moment")
        if not all(map(math.isfinite, self.q)):
            raise UsageError("q: every moment must be finite")
        if any(b <= a for a, b in zip(self.q, self.q[1:], strict=False)):
            raise UsageError("q: the moments must be strictly increasing")
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(f"{name} {value!r}: must be one of {', '.join(choices)}")
        self._check_scale()
        if unknown := set(self.include) - set(INCLUDABLE):
            raise UsageError(
                f"include {', '.join(sorted(unknown))}: can be {', '.join(INCLUDABLE)}"
            )

    def _check_scale(self) -> None:
        scale = self.relative_scale
        if self.distance == "inverse":
            if scale is not None:
                raise UsageError(f"relative_scale {scale:g}: only for distance relative")
            return
        scale = RELATIVE_SCALE if scale is None else float(scale)
        if not (math.isfinite(scale) and scale > 0):
            raise UsageError(f"relative_scale {scale:g}: must be positive and finite")
        object.__setattr__(self, "relative_scale", scale)

    @property
    def n_radii(self) -> int:
        """Largest radius: the cutoff, rounded half to even as every distance is."""
        return round(self.cutoff)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record of every setting."""
        return asdict(self) | {"q": list(self.q), "include": list(self.include)}
