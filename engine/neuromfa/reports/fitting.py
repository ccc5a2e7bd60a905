"""Partition functions and the lines fitted to them, of a model's network or of a graph."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from neuromfa.multifractal import Float64
from neuromfa.reports import chart
from neuromfa.reports.figure import Figure, Table, shown
from neuromfa.reports.material import finite

SHOWN_Q = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


class Fitted(Protocol):
    """What has radii, moments and fits: a group of neurons, or the analysis of a graph."""

    @property
    def radii(self) -> np.typing.NDArray[np.generic]:
        """Radii fitted over."""

    @property
    def q(self) -> Float64:
        """Moments."""

    @property
    def tau(self) -> Float64:
        """Mass exponents."""

    @property
    def tau_stderr(self) -> Float64:
        """Their standard errors."""

    @property
    def intercept(self) -> Float64:
        """Ln Z_q at the largest radius."""

    @property
    def r2(self) -> Float64:
        """Fit quality."""

    @property
    def r2_min(self) -> float:
        """The worst."""


def fitted_lines(found: Fitted, measured: Float64, *, name: str, title: str) -> Figure:
    """Ln Z_q(r) over r, with the lines that were fitted.

    Parameters
    ----------
    found : Fitted
        With exponents.
    measured : float64 array, shape (n_q, m)
        ln Z_q(r).
    name, title : str
        Of the figure.
    """
    shown_at = [k for k, q in enumerate(found.q) if np.isclose(SHOWN_Q, q).any()]
    shown_at = shown_at or list(range(0, len(found.q), max(1, len(found.q) // 7)))
    x = np.log(found.radii / found.radii[-1])
    fitted = (found.tau, found.tau_stderr, found.r2)
    rows = [
        {"q": moment(found.q[k]), "r": r, "measured": z, "fit": line}
        for k in shown_at
        for r, z, line in zip(
            found.radii.tolist(), measured[k].tolist(), found.intercept[k] + found.tau[k] * x,
            strict=True,
        )
    ]  # fmt: skip
    names = [moment(found.q[k]) for k in shown_at]
    r = {
        "field": "r", "type": "quantitative", "title": "radius r, logarithmic",
        "scale": {"type": "log", "nice": False}, "axis": {"grid": False, "tickCount": 6},
    }  # fmt: skip
    colour = chart.ramp("q", names)
    seen = chart.tooltip(q="q", r="radius", measured="ln Z_q(r)", fit="fitted")
    z = chart.number("measured", "ln Z_q(r)")
    return Figure(
        name=name,
        title=title,
        caption=(
            "Points are measured, lines fitted; a slope is the mass exponent τ(q). "
            "Where points leave their line, growth with the radius is no power law."
        ),
        summary=f"r² is {shown(found.r2_min)} for the worst moment; "
        + ", ".join(f"{moment(found.q[k])}: τ = {shown(float(found.tau[k]))}" for k in shown_at)
        + ".",
        spec=chart.chart(
            rows,
            [
                {
                    "mark": {"type": "line", "strokeWidth": 1.4},
                    "encoding": {"x": r, "y": chart.number("fit", "ln Z_q(r)"), "color": colour},
                },
                {
                    "mark": {"type": "point", "size": 11},
                    "encoding": {"x": r, "y": z, "color": colour, "tooltip": seen},
                },
            ],
        ),
        table=Table(
            columns=["q", "τ(q)", "standard error", "r²"],
            rows=[
                (name, *(finite(float(values[k])) for values in fitted))
                for name, k in zip(names, shown_at, strict=True)
            ],
        ),
    )


def moment(q: float) -> str:
    """``q = −1``, with a minus sign."""
    return f"q = {q:g}".replace("-", "−")
