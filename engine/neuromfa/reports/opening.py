"""What a page says before its chapters, and the words that it explains after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuromfa.reports.degrees import told
from neuromfa.reports.material import Material

Words = Sequence[tuple[str, str]]

WORDS_OF_SPECTRA: Words = (
    ("moment q", "which of them are heard: those with near neighbours (q > 0) or far ones (q < 0)"),
    ("mass exponent τ(q)", "the slope of ln Z_q(r) over ln r"),
    ("α, f(α)", "the derivative of τ, and the spectrum qα − τ"),
    ("regularity α₀ = α(0)", "how fast the average neighbourhood grows with the radius"),
    ("heterogeneity, width", "largest minus smallest α: how much neighbourhoods differ in that"),
    ("r²", "how straight a line is; the smallest over q is the worst of all fits"),
)
WORDS: Words = (
    ("neuron", "a unit that a layer reads; its edges are the weights by which it is read"),
    ("distance, radius", "1/|w|, the length of an edge; rounded to a whole number, a radius"),
    ("cutoff", "the largest distance that counts"),
    ("counted neuron", "a neuron with enough edges in range"),
    ("partition function Z_q(r)", "the sum over counted neurons of the share of their neighbours "
     "within r, to the power q"),
    *WORDS_OF_SPECTRA,
    ("degree of emergence E", "width relative to the baseline's, times ln of the baseline's α₀ "
     "over α₀"),
    ("controls", "E of weights that have the same scale or the same values, but not the "
     "organisation"),
    ("null model, z", "the same tensors shuffled, or drawn anew: distance from them in their "
     "standard deviations"),
    ("standard error", "by the jackknife: how much a number moves if blocks are left out in turn"),
    ("neuron fractal dimension", "the slope of one neuron's ln N(r) over ln r"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The frame of a page.

    Attributes
    ----------
    title : str
        What was analysed.
    lead : sequence of str
        Sentences with the main numbers.
    facts : sequence of pairs
        Names and values.
    words : sequence of pairs
        Words that the chapters use, each in one line.
    method : str
        What the analysis is called.
    reservation : str
        What the numbers do not say.
    paper : str
        Title of the paper to cite.
    cited : str
        Its authors, and where it appeared.
    """

    title: str
    lead: Sequence[str]
    facts: Sequence[tuple[str, Any]]
    words: Words = WORDS
    method: str = "Neuron-based multifractal analysis"
    reservation: str = (
        "A spectrum describes weights: it knows nothing of data, and is no measure of ability."
    )
    paper: str = "Neuron-based Multifractal Analysis of Neuron Interaction Dynamics in Large Models"
    cited: str = "Xiao et al., ICLR 2025"


def opening(material: Material) -> Opening:
    """The frame of the page of a suite or of one analysis."""
    return Opening(
        title=material.title,
        lead=[told(series) for series in material.series] if len(material.series) == 1 else [],
        facts=_facts(material),
    )


def _facts(material: Material) -> list[tuple[str, Any]]:
    analyses = [point.analysis for _, point in material.analyses]
    networks = [analysis.network for analysis in analyses]
    weights = sum(n.edges + n.zeros + n.nonfinite for n in networks)
    states = [entry["state"] for entry in material.entries]
    return [
        *([("models", len(material.series))] if len(material.series) > 1 else []),
        ("checkpoints analysed", len(analyses)),
        *((name, states.count(state)) for name, state in
          (("failed", "failed"), ("duplicates", "duplicate"), ("not yet run", "pending"))
          if state in states),
        ("neurons, largest", max(n.neurons for n in networks)),
        ("weights counted", weights),
        ("in range", f"{sum(n.edges_in_range for n in networks) / max(weights, 1):.1%}"),
        ("architecture", ", ".join(dict.fromkeys(a.architecture for a in analyses))),
    ]  # fmt: skip
