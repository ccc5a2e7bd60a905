"""What a person sees: tables, figures, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.console import number, standard_output
from neuromfa.errors import UsageError
from neuromfa.graphs.results import GraphAnalysis
from neuromfa.report import COLOURS, check, figure_file
from neuromfa.storage import atomic_file, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from neuromfa.graphs.multihop import HopAnalysis

MOST_FITS = 7


def print_graphs(analyses: Sequence[GraphAnalysis], distance: float | None) -> None:
    """Print one row for each graph, what to be aware of, and how far two are apart."""
    from rich.table import Table  # noqa: PLC0415  (slow to import)

    console, table = standard_output(), Table(show_edge=False, pad_edge=False)
    _fill(table, [_row(analysis) for analysis in analyses])
    console.print(table)
    if distance is not None:
        console.print(f"structure distance {number(distance)}")
    for analysis in analyses:
        notes = list(analysis.warnings)
        if analysis.undefined:
            notes.append(f"no exponents: {analysis.undefined}")
        for note in notes:
            name = Path(analysis.source).name
            console.print(f"[yellow]note:[/yellow] {name}: {note}", soft_wrap=True)


def print_hops(analysis: HopAnalysis) -> None:
    """Print one row for the network and for each layer, and what to be aware of."""
    from rich.table import Table  # noqa: PLC0415  (slow to import)

    console, table = standard_output(), Table(show_edge=False, pad_edge=False)
    protocol = analysis.protocol
    console.print(f"{analysis.source}: {protocol['hops']} hops along {protocol['topology']}")
    rows = []
    for group in (analysis.network, *analysis.layers):
        mean = group.fractal_dimension["mean"]
        half = half_widths(analysis.intervals.get(group.name))
        rows.append(
            {
                "group": group.name,
                "neurons": group.neurons,
                "counted": group.counted_neurons,
                "reached": group.edges_in_range,
                "alpha_0": number(group.alpha_0, half.get("alpha_0")),
                "width": number(group.width, half.get("width")),
                "min r²": number(group.r2_min),
                "dimension": "-" if mean is None else number(mean),
            }
        )
    _fill(table, rows)
    console.print(table)
    for note in analysis.warnings:
        console.print(f"[yellow]note:[/yellow] {note}", soft_wrap=True)


def _fill(table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for k, title in enumerate(rows[0]):
        table.add_column(title, justify="right" if k else "left")
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else v for v in row.values()))


def half_widths(spans: Mapping[str, Any] | None) -> dict[str, float]:
    """Half the width of the intervals of alpha_0 and width, where there are any."""
    names = ("alpha_0", "width") if spans else ()
    return {name: (spans[name]["high"] - spans[name]["low"]) / 2 for name in names if spans}


def _row(analysis: GraphAnalysis) -> dict[str, Any]:
    half = half_widths(analysis.interval)
    mean = analysis.node_dimension["mean"]
    at_2 = analysis.generalised_dimension[np.isclose(analysis.q, 2.0)]
    return {
        "graph": Path(analysis.source).name,
        "nodes": analysis.nodes,
        "edges": analysis.edges,
        "measured": analysis.measured,
        "radii": len(analysis.radii),
        "alpha_0": number(analysis.alpha_0, half.get("alpha_0")),
        "width": number(analysis.width, half.get("width")),
        "D(2)": number(float(at_2[0])) if len(at_2) else "-",
        "min r²": number(analysis.r2_min),
        "dimension": "-" if mean is None else number(mean),
    }


def write_graph(analysis: GraphAnalysis, directory: Path) -> tuple[Path, ...]:
    """Write ``graph.json``, ``spectrum.parquet`` and ``node_dimensions.parquet``.

    Raises
    ------
    ResourceError
        If they cannot be written.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    written = [write_text(directory / "graph.json", analysis.to_json())]
    for table in ("spectrum", "node_dimensions"):
        path = directory / f"{table}.parquet"
        with atomic_file(path) as file:
            pq.write_table(analysis.to_arrow(table), file, compression="zstd")
        written.append(path)
    return tuple(written)


def plot_graphs(analyses: Sequence[GraphAnalysis], path: Path) -> None:
    """Draw the spectra and generalised dimensions of graphs, and the fits of the first.

    Raises
    ------
    UsageError
        If the file's ending is not known, or a graph has no exponents.
    ResourceError
        If matplotlib is not installed or the file cannot be written.
    """
    check(path)
    for analysis in analyses:
        if analysis.undefined:
            raise UsageError(f"{path}: {analysis.source} has nothing to draw; {analysis.undefined}")
    with figure_file(path, (14.5, 4.6)) as figure:
        spectra, dimensions, fits = figure.subplots(1, 3)
        for analysis, colour in zip(analyses, ("black", *COLOURS), strict=False):
            name = Path(analysis.source).name
            spectra.plot(analysis.alpha, analysis.f, color=colour, label=name)
            dimensions.plot(analysis.q, analysis.generalised_dimension, color=colour, label=name)
        first = analyses[0]
        label = rf"$\alpha_0$ = {first.alpha_0:.4f}, width = {first.width:.4f}"
        spectra.set(xlabel=r"$\alpha$", ylabel=r"$f(\alpha)$", title=label)
        dimensions.set(xlabel="q", ylabel="D(q)", title="generalised dimensions")
        _fits(fits, first)
        for axes in (spectra, dimensions, fits):
            axes.grid(alpha=0.25)
            axes.legend(frameon=False, fontsize=8)
        figure.suptitle(f"{Path(first.source).name}: {first.measured:,} nodes")


def _fits(axes: Axes, analysis: GraphAnalysis) -> None:
    x = np.log(analysis.radii / analysis.radii[-1])
    shown = np.unique(np.linspace(0, len(analysis.q) - 1, MOST_FITS).round().astype(int))
    for k, colour in zip(shown, COLOURS, strict=False):
        values = analysis.log_partition_function[k]
        axes.plot(analysis.radii, values, ".", markersize=3, color=colour)
        label = rf"q = {analysis.q[k]:g}: $\tau$ = {analysis.tau[k]:.3f}"
        line = analysis.intercept[k] + analysis.tau[k] * x
        axes.plot(analysis.radii, line, color=colour, label=label)
    axes.set(xscale="log", xlabel="radius r", ylabel=r"$\ln Z_q(r)$", title="partition functions")
