"""What the analysis of a graph found: the same figures as of a model, one short page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuromfa.errors import BadInputError, UsageError
from neuromfa.graphs.results import GraphAnalysis
from neuromfa.reports import chart, pictures
from neuromfa.reports.account import settings_table, versions_table
from neuromfa.reports.figure import Figure, Item, Missing, Note, Section, Table, shown, with_error
from neuromfa.reports.fitting import fitted_lines
from neuromfa.reports.material import finite
from neuromfa.reports.neurons import NO_DIMENSION, distributions
from neuromfa.reports.opening import WORDS_OF_SPECTRA, Opening

RECORD = "graph.json"
NAME = "graph"
WORDS = (
    ("distance, radius", "hops, or the length of the shortest path; M(r) nodes are within r"),
    ("partition function Z_q(r)", "the sum over nodes of the share of all nodes that each has "
     "reached by r, to the power q"),
    *WORDS_OF_SPECTRA,
    ("generalised dimension D(q)", "τ(q)/q: flat where all nodes see the graph grow alike"),
    ("node fractal dimension", "the slope of one node's ln M(r) over ln r"),
)  # fmt: skip


def read_graph_analysis(path: Path) -> GraphAnalysis:
    """Read back what ``neuromfa graph --output`` wrote.

    Parameters
    ----------
    path : Path
        ``graph.json``. The dimensions of single nodes are not read.

    Raises
    ------
    BadInputError
        If it is missing, broken, or of another major version of the schema.
    """
    try:
        return GraphAnalysis.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not the record of a graph's analysis ({error!r})") from error


def opening(analysis: GraphAnalysis) -> Opening:
    """The frame of the page of a graph."""
    errors = analysis.interval or {}
    alpha_0, width = (
        with_error(getattr(analysis, of), (errors.get(of) or {}).get("stderr"))
        for of in ("alpha_0", "width")
    )
    lead = (
        f"No exponents: {analysis.undefined}."
        if analysis.undefined
        else f"The graph has regularity α₀ = {alpha_0} and width {width}; its worst fit has "
        f"r² = {shown(analysis.r2_min)}."
    )
    return Opening(
        title=_name(analysis),
        lead=[lead],
        facts=[
            ("nodes", analysis.nodes),
            ("edges", analysis.edges),
            ("nodes measured", analysis.measured),
            ("radii", len(analysis.radii)),
            ("directed", bool(analysis.graph["directed"])),
            ("distances", "lengths" if analysis.protocol["weighted"] else "hops"),
        ],
        words=WORDS,
        method="Node-based multifractal analysis",
        reservation="A spectrum describes distances: it knows nothing of what nodes are.",
        paper="Deciphering the generating rules and functionalities of complex networks",
        cited="Xiao, Chen and Bogdan, Scientific Reports 11, 22964 (2021)",
    )


def tell(analysis: GraphAnalysis) -> list[Section]:
    """The chapters of a graph's report; what is missing is an item that says why."""
    found: list[Item] = [spectra([analysis]), generalised_dimensions([analysis]), fits(analysis)]
    return [
        Section(
            name="spectrum",
            title="Spectrum",
            question="How does the graph grow around its nodes, and how differently?",
            items=[*found, node_dimensions(analysis)],
        ),
        Section(
            name="coverage",
            title="Coverage and warnings",
            question="What was looked at, what was left out, and what should be read with care?",
            items=[
                Note(
                    title="The whole graph",
                    text=", ".join(f"{k.replace('_', ' ')} {shown(v)}"
                                   for k, v in analysis.graph.items() if v is not None),
                ),
                Note(title="Warnings", text="; ".join(analysis.warnings) or "none"),
            ],
        ),
        Section(
            name="provenance",
            title="Provenance",
            question="Could someone else arrive at the same numbers?",
            items=[settings_table(analysis.protocol), versions_table(analysis.provenance)],
        ),
    ]  # fmt: skip


def spectra(analyses: Sequence[GraphAnalysis]) -> Figure | Missing:
    """f(alpha) of graphs."""
    title = "Spectrum"
    if analyses[0].undefined:
        return Missing(title=title, reason=analyses[0].undefined)
    return _curves(
        analyses,
        ("alpha", "α", "f", "f(α)"),
        title=title,
        caption=(
            "The top of a curve is the regularity α₀, its extent the width. Towards the left are "
            "moments q > 0, which hear nodes that reach much at once."
        ),
        summary="; ".join(
            f"{name}: α₀ = {shown(a.alpha_0)}, width {shown(a.width)}"
            for name, a in _named(analyses)
        )
        + ".",
    )


def generalised_dimensions(analyses: Sequence[GraphAnalysis]) -> Figure | Missing:
    """D(q) of graphs."""
    title = "Generalised dimensions"
    if analyses[0].undefined:
        return Missing(title=title, reason=analyses[0].undefined)
    ends = [
        f"{name}: from {shown(_first(a)[0])} to {shown(_first(a)[1])}"
        for name, a in _named(analyses)
    ]
    return _curves(
        analyses,
        ("q", "moment q", "generalised_dimension", "D(q)"),
        title=title,
        caption=(
            "D(q) = τ(q)/q: flat where all nodes see the graph grow alike, falling where hubs "
            "(large q) and remote nodes (small q) do not."
        ),
        summary="; ".join(ends) + ".",
    )


def _first(analysis: GraphAnalysis) -> tuple[float, float]:
    """D(q) at the first and the last moment."""
    values = analysis.generalised_dimension
    return float(values[0]), float(values[-1])


def fits(analysis: GraphAnalysis) -> Figure | Missing:
    """Ln Z_q(r) over r, with the lines that were fitted."""
    title = "Partition functions and their fits"
    if analysis.undefined:
        return Missing(title=title, reason=analysis.undefined)
    return fitted_lines(analysis, analysis.log_partition_function, name="fits", title=title)


def node_dimensions(analysis: GraphAnalysis) -> Figure | Missing:
    """How the fractal dimensions of the nodes are spread."""
    title = "Node fractal dimensions"
    if not analysis.node_dimension["defined"]:
        return Missing(title=title, reason=NO_DIMENSION.replace("neuron", "node"))
    found = [(_name(analysis), analysis.node_dimension)]
    return distributions(found, name="dimensions", title=title, of=NAME, unit="node")


def plot_graphs(analyses: Sequence[GraphAnalysis], path: Path) -> None:
    """Draw the spectra and generalised dimensions of graphs, and the fits of the first.

    Raises
    ------
    UsageError
        If the file's ending is not known, or a graph has no exponents.
    ResourceError
        If the package for figures is not installed or the file cannot be written.
    """
    pictures.check(path)
    for analysis in analyses:
        if analysis.undefined:
            raise UsageError(f"{path}: {analysis.source} has nothing to draw; {analysis.undefined}")
    drawn = [spectra(analyses), generalised_dimensions(analyses), fits(analyses[0])]
    panels = {figure.title: figure.spec for figure in drawn if isinstance(figure, Figure)}
    pictures.draw_beside(panels, path)


def _curves(
    analyses: Sequence[GraphAnalysis],
    axes: tuple[str, str, str, str],
    *,
    title: str,
    caption: str,
    summary: str,
) -> Figure:
    """One array of moments over another, for each graph."""
    of_x, x, of_y, y = axes
    names = [name for name, _ in _named(analyses)]
    rows: list[dict[str, Any]] = [
        {"series": name, "order": k, "at": q, "x": a, "y": b}
        for name, analysis in _named(analyses)
        for k, (q, a, b) in enumerate(
            zip(*(getattr(analysis, of).tolist() for of in ("q", of_x, of_y)), strict=True)
        )
    ]
    line = chart.line(
        chart.number("x", x),
        chart.number("y", y),
        order={"field": "order"},
        color=chart.colour("series", names, ink=True, legend=len(names) > 1),
        strokeDash=chart.dash("series", names, legend=len(names) > 1),
        tooltip=chart.tooltip(series="", at="q", x=x, y=y),
        mark={"point": False},
    )
    return Figure(
        name=title.lower().replace(" ", "-"),
        title=title,
        caption=caption,
        summary=summary,
        spec=chart.chart(rows, [line]),
        table=Table(
            columns=[NAME, "q", *([] if of_x == "q" else [x]), y],
            rows=[
                (r["series"], r["at"], *([] if of_x == "q" else [finite(r["x"])]), finite(r["y"]))
                for r in rows
                if float(r["at"]).is_integer()
            ],
            note="Whole moments only; all are in the record.",
        ),
    )


def _name(analysis: GraphAnalysis) -> str:
    return Path(analysis.source).name or analysis.source


def _named(analyses: Sequence[GraphAnalysis]) -> list[tuple[str, GraphAnalysis]]:
    """Graphs with their names; those of one name are numbered."""
    seen: Counter[str] = Counter()
    found = []
    for analysis in analyses:
        name = _name(analysis)
        seen[name] += 1
        found.append((name if seen[name] == 1 else f"{name} ({seen[name]})", analysis))
    return found
