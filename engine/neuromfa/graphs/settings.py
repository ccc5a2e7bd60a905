"""The settings of a graph's analysis that can change a number of its result."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from neuromfa.errors import UsageError
from neuromfa.protocol import q_grid

MAX_Q = 15.0
"""Largest abs(q): p^q of a node among 2^32 stays in the range of float64."""
MAX_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphProtocol:
    """All settings that define the analysis of a graph (definitions, section 7).

    Attributes
    ----------
    q : tuple of float
        Moments, strictly increasing, at most 15 in size.
    weighted : bool
        Distances are lengths of shortest paths; else numbers of hops.
    digits : int
        Decimals that weighted distances are rounded to.
    component : int
        Which component is analysed, by size: 0 is the giant one.
    share : float
        Analyse this share of the nodes, the most influential ones; 1 for all.
    sources : int or None
        Measure this many nodes, drawn at random; None for all.
    seed : int
        Of the draw.
    radii : pair of float, or None
        Fit over the radii from the first to the last, both included; None for all that occur.
    differences : {"analytic", "forward"}
        Whether alpha is the exact derivative of tau or, as in the authors' scripts, a quotient of
        forward differences.
    """

    q: tuple[float, ...] = q_grid(-10.0, 10.0, 0.1)
    weighted: bool = False
    digits: int = 3
    component: int = 0
    share: float = 1.0
    sources: int | None = None
    seed: int = 0
    radii: tuple[float, float] | None = None
    differences: Literal["analytic", "forward"] = "analytic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", tuple(float(q) + 0.0 for q in self.q))
        if len(self.q) < 2 or any(b <= a for a, b in zip(self.q, self.q[1:], strict=False)):
            raise UsageError("q: give at least two moments, strictly increasing")
        if not all(math.isfinite(q) and abs(q) <= MAX_Q for q in self.q):
            raise UsageError(f"q {self.q[0]:g} to {self.q[-1]:g}: must lie in -{MAX_Q:g}:{MAX_Q:g}")
        whole = {"digits": (0, MAX_DIGITS), "component": (0, None), "seed": (0, None)}
        if self.sources is not None:
            whole["sources"] = (1, None)
        for name, (least, most) in whole.items():
            value = getattr(self, name)
            if value != int(value) or value < least or (most is not None and value > most):
                ends = f"{least} to {most}" if most is not None else f"at least {least}"
                raise UsageError(f"{name} {value}: must be a whole number, {ends}")
        if not 0 < self.share <= 1:
            raise UsageError(f"share {self.share:g}: must be above 0 and at most 1")
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(map(float, self.radii)))
            if len(self.radii) != 2 or not 0 <= self.radii[0] < self.radii[1]:
                raise UsageError(f"radii {self.radii}: must be a smaller and a larger one")
        if self.differences not in ("analytic", "forward"):
            raise UsageError(f"differences {self.differences!r}: must be analytic or forward")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record of every setting."""
        radii = None if self.radii is None else list(self.radii)
        return asdict(self) | {"q": list(self.q), "radii": radii}
