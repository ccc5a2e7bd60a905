"""Distributions of neuron fractal dimensions, over training and by role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromfa.reports import chart
from neuromfa.reports.course import spread, step_of
from neuromfa.reports.figure import Figure, Missing, Table, shown
from neuromfa.reports.material import Series

MOST_DISTRIBUTIONS = 4
NO_DIMENSION = "no neuron has one"
NO_DISTRIBUTION = "the record keeps no distribution of them"


def dimensions(series: Series) -> Figure | Missing:
    """Neuron fractal dimensions of the network, at steps spread over training."""
    title = series.titled("Neuron fractal dimensions")
    chosen = spread(series.points, MOST_DISTRIBUTIONS)
    found = [(step_of(p), p.analysis.network.fractal_dimension) for p in chosen]
    found = [(step, summary) for step, summary in found if summary["defined"]]
    if not found:
        kept = any(p.analysis.network.fractal_dimension["histogram"] for p in chosen)
        return Missing(title=title, reason=NO_DIMENSION if kept else NO_DISTRIBUTION)
    return distributions(found, name=f"dimensions-{series.stem}", title=title, of="step")


def dimensions_by_role(series: Series) -> Figure | Missing:
    """Neuron fractal dimensions of each role at one checkpoint."""
    point = series.last
    title = series.titled(f"Neuron fractal dimensions by role, {point.label}")
    found = [(g.name, g.fractal_dimension) for g in point.analysis.roles]
    found = [(role, summary) for role, summary in found if summary["defined"]]
    if len(found) < 2:
        return Missing(title=title, reason="there are no roles to tell apart")
    return distributions(found, name=f"dimensions-by-role-{series.stem}", title=title, of="role")


def distributions(
    found: Sequence[tuple[str, Any]], *, name: str, title: str, of: str, unit: str = "neuron"
) -> Figure:
    """How fractal dimensions are spread, from the summaries of records.

    Parameters
    ----------
    found : sequence of (str, mapping)
        Labels and summaries with at least one dimension.
    name, title : str
        Of the figure.
    of : str
        What the labels are.
    unit : str
        What has the dimensions: a neuron, or a node.
    """
    rows, lines = [], []
    for label, summary in found:
        width, counts = summary["histogram"]["bin_width"], summary["histogram"]["counts"][:-1]
        seen = [k for k, count in enumerate(counts) if count]
        first, last = (max(0, seen[0] - 1), min(len(counts), seen[-1] + 2)) if seen else (0, 0)
        rows += [
            {"series": label, "at": (k + 0.5) * width, "share": counts[k] / summary["defined"]}
            for k in range(first, last)
        ]
        undefined = summary["too_few_edges"] + summary["one_radius"]
        spread_of = (summary["mean"], summary["sd"], summary["min"], summary["max"])
        lines.append((label, summary["defined"], undefined, *spread_of))
    names = [label for label, _ in found]
    colour = chart.ramp("series", names) if of == "step" else chart.colour("series", names)
    seen_at = chart.tooltip(series=of, at="dimension", share=f"share of {unit}s")
    return Figure(
        name=name,
        title=title,
        caption=(
            f"The fractal dimension of a {unit} is the slope of the logarithm of the number of its "
            f"neighbours within r over ln r. Shares of the {unit}s that have one, in bins of the "
            "record."
        ),
        summary="Mean and standard deviation: "
        + "; ".join(f"{x[0]} {shown(x[3])} ({shown(x[4])})" for x in lines)
        + ".",
        spec=chart.chart(
            rows,
            [
                chart.line(
                    chart.number("at", f"{unit} fractal dimension", axis={"grid": False}),
                    {"field": "share", "type": "quantitative", "title": f"share of {unit}s",
                     "axis": {"format": "%"}},
                    color=colour,
                    tooltip=seen_at,
                    mark={"point": False, "interpolate": "step"},
                )
            ],
        ),
        table=Table(
            columns=[of, "defined", "undefined", "mean", "sd", "smallest", "largest"], rows=lines
        ),
    )  # fmt: skip
