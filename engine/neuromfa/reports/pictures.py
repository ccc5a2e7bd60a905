"""Figures as files, for papers and slides."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuromfa.errors import ResourceError, UsageError
from neuromfa.reports import chart, structure
from neuromfa.reports.figure import Figure
from neuromfa.reports.material import of_analysis
from neuromfa.results import Analysis
from neuromfa.storage import atomic_file

FORMATS = ("png", "pdf", "svg")
WIDTH, WIDE = 420, 640
DOTS_PER_INCH = 200


def check(path: Path) -> None:
    """Refuse a figure that cannot be made, before anything is computed.

    Raises
    ------
    UsageError
        If the name does not end in a known format.
    ResourceError
        If the package for figures is not installed.
    """
    if path.suffix[1:].lower() not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"{path}: a figure's name ends in {endings}")
    if find_spec("vl_convert") is None:
        raise ResourceError("figures need vl-convert-python: pip install 'neuromfa[report]'")


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
        If the package for figures is not installed or the file cannot be written.
    """
    check(path)
    (series,) = of_analysis(analysis).series
    drawn = [structure.spectrum(series), structure.fits(series)]
    figures = [figure for figure in drawn if isinstance(figure, Figure)]
    if not figures:
        raise UsageError(f"{path}: nothing to draw; {analysis.network.undefined}")
    draw_beside({figure.title: figure.spec for figure in figures}, path)


def draw_beside(panels: Mapping[str, chart.Spec], path: Path) -> None:
    """Draw panels side by side in one file, each with its title and a legend of its own.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    own = {"scale": {"color": "independent", "strokeDash": "independent"}}
    beside = [chart.sized(spec, WIDTH) | {"title": title} for title, spec in panels.items()]
    _write({"hconcat": beside, "spacing": 40, "resolve": own}, path)


def draw_figures(
    figures: Iterable[Figure], directory: Path, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write every figure of a report, one file for each format.

    Parameters
    ----------
    figures : iterable of Figure
        What to draw.
    directory : Path
        Where to; made if it does not exist. Files are called as the figures are in the page.
    formats : sequence of str
        Among "png" (200 dots per inch), "pdf" and "svg".

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    UsageError
        If a format is not known.
    ResourceError
        If the package for figures is not installed or a file cannot be written.
    """
    paths = []
    for figure, ending in itertools.product(figures, formats):
        path = directory / f"{figure.name}.{ending}"
        check(path)
        _write(_sized(figure), path)
        paths.append(path)
    return paths


def _sized(figure: Figure) -> chart.Spec:
    sized: chart.Spec = chart.sized(figure.spec, WIDE if figure.wide else WIDTH)
    return sized


def _write(spec: chart.Spec, path: Path) -> None:
    import vl_convert  # noqa: PLC0415  (optional)

    look = chart.CONFIG | {"background": "white", "padding": 8}
    whole = chart.on_paper(spec | {"config": look})
    draw: dict[str, Callable[[], Any]] = {
        "png": lambda: vl_convert.vegalite_to_png(whole, ppi=DOTS_PER_INCH),
        "pdf": lambda: vl_convert.vegalite_to_pdf(whole),
        "svg": lambda: vl_convert.vegalite_to_svg(whole).encode(),
    }
    drawn = draw[path.suffix[1:].lower()]()
    with atomic_file(path) as file:
        file.write(drawn)
