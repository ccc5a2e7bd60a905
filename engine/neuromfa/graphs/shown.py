"""What a person sees: tables and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.console import number, standard_output
from neuromfa.graphs.results import GraphAnalysis
from neuromfa.storage import atomic_file, write_text

if TYPE_CHECKING:
    from rich.table import Table

    from neuromfa.graphs.hop_record import HopAnalysis


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
