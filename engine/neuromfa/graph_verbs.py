"""The verbs ``graph``, ``network`` and ``hops`` of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromfa.errors import UsageError
from neuromfa.options import (
    DEVICES,
    OPENING,
    PROCESSORS,
    PROTOCOL,
    RESOURCES,
    memory_size,
    moments,
    resource_settings,
    settings,
    with_options,
)

if TYPE_CHECKING:
    from neuromfa.graphs.results import GraphAnalysis

_PATH = click.Path(path_type=Path)


def _radii(text: str | None) -> tuple[float, float] | None:
    """``2:16`` as two numbers."""
    if text is None:
        return None
    try:
        first, last = map(float, text.split(":"))
    except ValueError as error:
        raise UsageError(f"--radii {text}: write FIRST:LAST") from error
    return first, last


_SETTINGS = (
    click.option("--q", default="-10:10:0.1", show_default=True, help="Moments: grid or list."),
    click.option("--weighted", is_flag=True, help="Lengths of shortest paths instead of hops."),
    click.option("--weight", default="weight", show_default=True, help="Column of the lengths."),
    click.option("--digits", type=int, default=3, show_default=True, help="Decimals of lengths."),
    click.option("--directed", is_flag=True, help="Edges lead one way."),
    click.option("--component", type=int, default=0, show_default=True, help="Which one, by size."),
    click.option("--share", type=float, default=1.0, show_default=True, help="Most influential."),
    click.option("--sources", type=int, help="Nodes to measure, drawn at random; all by default."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the draw."),
    click.option("--radii", help="Fit over the radii FIRST:LAST only."),
    click.option(
        "--differences", type=click.Choice(["analytic", "forward"]), default="analytic",
        show_default=True, help="How alpha is found.",
    ),
)  # fmt: skip


@click.command()
@click.argument("file", type=_PATH)
@with_options(*_SETTINGS)
@click.option("--against", type=_PATH, help="Another graph: print the structure distance too.")
@click.option("--threads", type=int, help="Threads; all processors by default.")
@click.option("--memory", default="2G", help="Private memory for the work.", show_default=True)
@with_options(*DEVICES)
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--output", type=_PATH, help="Directory for JSON and Parquet.")
@click.option("--plot", type=_PATH, help="Figure: PNG, PDF or SVG.")
@click.option("--quiet", is_flag=True, help="No table.")
def graph(
    file: Path,
    *,
    against: Path | None,
    as_json: bool,
    output: Path | None,
    plot: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Analyse any graph: an edge list, Matrix Market, GraphML."""
    from neuromfa import storage  # noqa: PLC0415  (slow to import)
    from neuromfa.emergence.comparison import structure_distance  # noqa: PLC0415
    from neuromfa.graphs import shown  # noqa: PLC0415
    from neuromfa.graphs.analysis import analyse_graph  # noqa: PLC0415
    from neuromfa.graphs.settings import GraphProtocol  # noqa: PLC0415
    from neuromfa.reports import pictures  # noqa: PLC0415
    from neuromfa.reports.graphs import plot_graphs  # noqa: PLC0415

    how: dict[str, Any] = {
        "weight": options.pop("weight"),
        "directed": options.pop("directed") or None,
        **{name: options.pop(name) for name in ("threads", "memory", "device", "device_memory")},
    }
    if options["weighted"] and how["device"] == "auto":
        how["device"] = "cpu"
    resource_settings(how)
    options |= {"q": moments(options["q"]), "radii": _radii(options["radii"])}
    protocol = GraphProtocol(**options)
    if output is not None:
        storage.make_directory(output)
    if plot is not None:
        pictures.check(plot)
    found: list[GraphAnalysis] = [
        analyse_graph(path, protocol, **how) for path in (file, against) if path is not None
    ]
    distance = structure_distance(*found) if against is not None else None
    if as_json:
        click.echo(found[0].to_json(), nl=False)
    elif not quiet:
        shown.print_graphs(found, distance)
    if output is not None:
        shown.write_graph(found[0], output)
    if plot is not None:
        plot_graphs(found, plot)


@click.command()
@click.argument("checkpoint")
@click.option("--output", type=_PATH, required=True, help="Edge list to write: Parquet or CSV.")
@click.option("--layer", "layers", multiple=True, help="Name or pattern of layers; all by default.")
@click.option("--min-weight", type=float, default=0.0, show_default=True, help="Smallest size.")
@with_options(*OPENING, *PROCESSORS)
@click.option("--quiet", is_flag=True, help="Do not tell how many edges were written.")
def network(checkpoint: str, *, output: Path, quiet: bool, **options: Any) -> None:
    """Write a model's network, or a part of it, as an edge list."""
    from neuromfa.graphs.export import write_network  # noqa: PLC0415  (slow to import)

    options["memory"] = memory_size(options["memory"], "--memory")
    edges = write_network(checkpoint, output, **options)
    if not quiet:
        click.echo(f"{output}: {edges:,} edges")


@click.command()
@click.argument("checkpoint")
@click.option("--hops", type=int, default=2, show_default=True, help="Most edges of a path.")
@click.option("--layer", "layers", multiple=True, help="Name or pattern of layers; all by default.")
@click.option(
    "--topology",
    type=click.Choice(["paper_chain", "residual"]),
    default="paper_chain",
    show_default=True,
    help="How layers follow each other.",
)
@click.option("--share", type=float, default=1.0, show_default=True, help="Neurons to draw.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
@with_options(*PROTOCOL, *OPENING, *RESOURCES)
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--output", type=_PATH, help="File for the record, as JSON.")
def hops(checkpoint: str, *, hops: int, as_json: bool, output: Path | None, **options: Any) -> None:
    """Analyse a checkpoint's neurons with neighbours several layers ahead."""
    from neuromfa.graphs import shown  # noqa: PLC0415  (slow to import)
    from neuromfa.graphs.multihop import analyse_hops  # noqa: PLC0415
    from neuromfa.storage import write_text  # noqa: PLC0415

    chosen = {name: options.pop(name) for name in ("layers", "topology", "share", "seed")}
    protocol, how = settings(options)
    found = analyse_hops(checkpoint, hops, protocol, **chosen, **how)
    if as_json:
        click.echo(found.to_json(), nl=False)
    else:
        shown.print_hops(found)
    if output is not None:
        write_text(output, found.to_json())
