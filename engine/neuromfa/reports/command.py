"""The verb ``report``."""

from __future__ import annotations

from pathlib import Path

import click

FORMATS = ("png", "pdf", "svg")


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option(
    "--figures", type=click.Path(path_type=Path), help="Directory for every figure as a file."
)
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS), default=("pdf",),
    show_default=True, help="Of the files; repeat for several.",
)  # fmt: skip
def report(results: Path, output: Path, figures: Path | None, formats: tuple[str, ...]) -> None:
    """Tell what a suite or an analysis found, in one page that needs no network.

    RESULTS is what `neuromfa suite run`, `neuromfa analyse --output` or `neuromfa graph --output`
    wrote.
    """
    from neuromfa.reports import graphs, opening, page, pictures, story  # noqa: PLC0415  (slow)
    from neuromfa.reports.material import open_material  # noqa: PLC0415

    page.check()
    record = results / graphs.RECORD if results.is_dir() else results
    if record.name == graphs.RECORD and record.exists():
        analysis = graphs.read_graph_analysis(record)
        head, sections = graphs.opening(analysis), graphs.tell(analysis)
    else:
        material = open_material(results)
        head, sections = opening.opening(material), story.tell(material)
    click.echo(page.write_page(head, sections, output))
    if figures is not None:
        drawn = pictures.draw_figures(story.figures(sections), figures, formats)
        click.echo(f"neuromfa: {len(drawn)} figures are in {figures}", err=True)
