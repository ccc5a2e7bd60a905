"""What a report tells, in order: each chapter asks a question and answers it with figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from neuromfa.reports import account, benchmarks, neurons, paper, structure, training
from neuromfa.reports.degrees import degree, degrees, ends, nulls
from neuromfa.reports.figure import Figure, Item, Missing, Section, TableBlock
from neuromfa.reports.material import Material, Series

QUANTITIES = ("alpha_0", "width")
WORDS_AND_LOOK = ("words", "look")
"""Names that the page itself uses."""


def tell(material: Material) -> list[Section]:
    """The chapters of a report.

    Parameters
    ----------
    material : Material
        What there is.

    Returns
    -------
    list of Section
        In the order of the page. What is missing is an item that says why.
    """
    sections = [
        *(_course(material) if _over_training(material) else []),
        *(_parts(series) for series in material.series),
        *(_trust(series) for series in material.series),
        *([benchmarks.section(material)] if material.suite is not None else []),
        *([paper.section(material)] if _over_training(material) else []),
        account.coverage(material),
        account.provenance(material),
    ]
    return _distinct(sections)


def _distinct(sections: Sequence[Section]) -> list[Section]:
    """Names that are alike but for characters that a file name cannot have are numbered."""
    seen: Counter[str] = Counter(WORDS_AND_LOOK)

    def numbered(name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else numbered(f"{name}-{seen[name]}")

    def renamed(item: Item) -> Item:
        if isinstance(item, Figure | TableBlock):
            return replace(item, name=numbered(item.name))
        return item

    return [
        replace(section, name=numbered(section.name), items=[*map(renamed, section.items)])
        for section in sections
    ]


def figures(sections: Iterable[Section]) -> list[Figure]:
    """Every figure of a report, in order."""
    return [item for section in sections for item in section.items if isinstance(item, Figure)]


def _over_training(material: Material) -> bool:
    return material.suite is not None or any(len(one.points) > 1 for one in material.series)


def _course(material: Material) -> list[Section]:
    """The story: emergence with its controls and, beside it, scores; then what it is made of."""
    several = len(material.series) > 1
    return [
        Section(
            name="emergence",
            title="Emergence over training",
            question="Does the network organise itself, and how much of E is mere scale?",
            items=[
                *([ends(material), degrees(material)] if several else []),
                *(item for series in material.series for item in _emergence(material, series)),
            ],
        ),
        Section(
            name="spectra",
            title="Spectra over training",
            question="How do regularity and heterogeneity, of which E is made, move?",
            items=[
                item
                for series in material.series
                for item in (
                    training.spectra(series),
                    *(training.quantity(series, which) for which in QUANTITIES),
                )
            ],
        ),
    ]


def _emergence(material: Material, series: Series) -> list[Item]:
    """E with its controls; scores beside it, where there are any; and null models."""
    emergence, scores = degree(series), benchmarks.beside(material, series)
    if isinstance(emergence, Figure) and any(isinstance(item, Figure) for item in scores):
        emergence = replace(emergence, wide=False)
    return [emergence, *scores, nulls(series)]


def _parts(series: Series) -> Section:
    """Blocks, roles and neurons."""
    items: list[Item] = []
    if len(series.points) > 1:
        items += [structure.over_blocks(series, which) for which in QUANTITIES]
        items += [training.profiles(series, which) for which in QUANTITIES]
    else:
        items += [structure.spectrum(series), structure.fits(series)]
    items.append(training.simple(series))
    items += [structure.over_layers(series, which) for which in QUANTITIES]
    items += [neurons.dimensions(series), neurons.dimensions_by_role(series)]
    if len(series.points) == 1:
        items.append(Missing(title="Emergence over training", reason=series.no_emergence))
    return Section(
        name=f"parts-{series.stem}",
        title=series.titled("Parts of the network"),
        question="Which blocks, roles and neurons carry it?",
        items=items,
    )


def _trust(series: Series) -> Section:
    """Fits, and the numbers of the last checkpoint."""
    items: list[Item] = []
    if len(series.points) > 1:
        items += [training.fit_quality(series), structure.fits(series)]
    items.append(structure.groups(series))
    return Section(
        name=f"fits-{series.stem}",
        title=series.titled("Fit quality" if len(items) > 1 else "All numbers"),
        question="Are the lines straight from which the exponents are read?",
        items=items,
    )
