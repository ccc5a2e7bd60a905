"""Figures of an analysis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.errors import ResourceError, UsageError
from neuromfa.results import Analysis, Group
from neuromfa.storage import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
SHOWN_Q = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
MOST_GROUPS = 8
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#666666")
"""Okabe and Ito's, which colour-blind readers can tell apart, and two more."""


def check(path: Path) -> None:
    """Refuse a figure that cannot be made, before anything is computed.

    Raises
    ------
    UsageError
        If the name does not end in a known format.
    ResourceError
        If matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a figure's name ends in {', '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise ResourceError("figures need matplotlib: pip install 'neuromfa[report]'")


def plot(analysis: Analysis, path: Path) -> None:
    """Draw the spectra of the network and its roles, and the fits behind the network's.

    Parameters
    ----------
    analysis : Analysis
        What to draw.
    path : Path
        File to write; its ending decides the format.

    Raises
    ------
    UsageError
        If the ending is not known, or the network has no exponents.
    ResourceError
        If matplotlib is not installed or the file cannot be written.
    """
    check(path)
    if analysis.network.undefined:
        raise UsageError(f"{path}: nothing to draw; {analysis.network.undefined}")
    with figure_file(path, (11, 4.8)) as figure:
        left, right = figure.subplots(1, 2)
        _spectra(left, analysis)
        _fits(right, analysis)
        figure.suptitle(f"{Path(analysis.source).name}: {analysis.network.neurons:,} neurons")


@contextmanager
def figure_file(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """Write the figure that is drawn meanwhile; `check` the path first.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (optional)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)  # a canvas of its own: pyplot's global state is left alone
    yield figure
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=160)


def _spectra(axes: Axes, analysis: Analysis) -> None:
    network = analysis.network
    roles = [g for g in analysis.roles if not g.undefined][:MOST_GROUPS]
    if len(roles) > 1:
        for group, colour in zip(roles, COLOURS, strict=False):
            _spectrum(axes, group, color=colour, linewidth=1.2)
    _spectrum(axes, network, color="black", linewidth=2.2)
    errors = network.jackknife or {}
    axes.errorbar(
        [network.alpha_0], [0.0], xerr=errors.get("alpha_0_stderr"), color="black", marker="o",
        markersize=5, capsize=3, linestyle="none",
    )  # fmt: skip
    label = rf"$\alpha_0$ = {network.alpha_0:.4f}, width = {network.width:.4f}"
    axes.set(xlabel=r"$\alpha$", ylabel=r"$f(\alpha)$", title=label)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)


def _spectrum(axes: Axes, group: Group, **style: Any) -> None:
    axes.plot(group.alpha, group.f, label=group.name.replace("_", " "), **style)


def _fits(axes: Axes, analysis: Analysis) -> None:
    network = analysis.network
    x = np.log(network.radii / network.radii[-1])
    shown = [k for k, q in enumerate(network.q) if np.isclose(SHOWN_Q, q).any()]
    shown = shown or list(range(0, len(network.q), max(1, len(network.q) // 7)))
    for k, colour in zip(shown, COLOURS, strict=False):
        axes.plot(
            network.radii, analysis.log_partition_function[k], ".", markersize=3, color=colour
        )
        label = rf"q = {network.q[k]:g}: $\tau$ = {network.tau[k]:.3f}"
        axes.plot(
            network.radii, network.intercept[k] + network.tau[k] * x, color=colour, label=label
        )
    axes.set(xscale="log", xlabel="radius r", ylabel=r"$\ln Z_q(r)$", title="partition functions")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
