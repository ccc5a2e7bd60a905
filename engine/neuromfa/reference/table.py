"""What a person sees in a terminal of an analysis by the reference protocol."""

from __future__ import annotations

from rich.table import Table

from neuromfa.console import number, standard_output
from neuromfa.reference.record import ReferenceAnalysis


def print_reference(analysis: ReferenceAnalysis) -> None:
    """Print the samples, their means and spread, and what to be aware of."""
    console, protocol = standard_output(), analysis.protocol
    statistics = analysis.statistics()
    console.print(f"[bold]{analysis.source}[/bold]  ({analysis.architecture})", soft_wrap=True)
    console.print(
        f"the authors' sampled procedure: {protocol['samples']:,} networks of "
        f"{protocol['sample_size']:,} units of each layer, T = {protocol['cutoff']:g}; "
        f"{analysis.provenance['seconds']:.2f} s",
        soft_wrap=True,
    )
    table = Table(show_edge=False, pad_edge=False)
    for title in (
        "sample",
        "neurons",
        "counted",
        "radii",
        "alpha_0",
        "derivative",
        "width",
        "f max",
    ):
        table.add_column(title, justify="right")
    for sample in analysis.samples:
        table.add_row(
            str(sample.sample),
            f"{sample.neurons:,}",
            f"{sample.counted_neurons:,}",
            f"{len(sample.radii):,}",
            *map(number, (sample.alpha_0, sample.alpha_0_derivative, sample.width)),
            "-" if sample.undefined else f"{sample.f.max():.1e}",
        )
    table.add_section()
    for title, ending in (("mean", "mean"), ("sd", "sd")):
        names = ("alpha_0", "alpha_0_derivative", "width")
        table.add_row(title, "", "", "", *(number(statistics[f"{n}_{ending}"]) for n in names), "")
    console.print(table)
    missing = [f"{s.sample} ({s.undefined})" for s in analysis.samples if s.undefined]
    for note in (*analysis.warnings, *(f"no exponents for sample {m}" for m in missing)):
        console.print(f"[yellow]note:[/yellow] {note}", soft_wrap=True)
