"""What a person sees in a terminal: tables on standard output, progress on standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from neuromfa.analysis import Progress as AnalysisProgress
    from neuromfa.results import Analysis, Group

WIDTH_WITHOUT_TERMINAL = 120


def standard_output() -> Console:
    """Standard output; wide enough where there is no terminal to ask. Obeys NO_COLOR."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def number(value: float, stderr: float | None = None) -> str:
    """Four decimals, with a standard error if there is one; a dash where undefined."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if stderr is None else f"{value:.4f} ± {stderr:.4f}"


def print_analysis(analysis: Analysis) -> None:
    """Print an analysis: the network, its roles, its blocks, and what to be aware of."""
    console, coverage = standard_output(), analysis.coverage
    console.print(f"[bold]{analysis.source}[/bold]  ({analysis.architecture})", soft_wrap=True)
    facts = analysis.provenance
    console.print(
        f"{len(analysis.layers):,} layers, {analysis.network.neurons:,} neurons, "
        f"{analysis.network.edges:,} edges; tensors: {len(coverage['analysed']):,} analysed, "
        f"{len(coverage['excluded']):,} excluded, {len(coverage['unknown']):,} unknown; "
        f"{facts['seconds']:.2f} s, {facts['gigabytes_per_second']:.2f} GB/s",
        soft_wrap=True,
    )
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("group")
    for title in ("neurons", "counted", "in range", "alpha_0", "width", "min r²", "dimension"):
        table.add_column(title, justify="right")
    for kind, groups in (
        ("", [analysis.network]),
        ("role ", analysis.roles),
        ("block ", analysis.blocks),
    ):
        table.add_section()
        for group in groups:
            table.add_row(kind + group.name, *_row(group))
    console.print(table)
    for note in _notes(analysis):
        console.print(f"[yellow]note:[/yellow] {note}", soft_wrap=True)


def _row(group: Group) -> list[str]:
    errors = group.jackknife or {}
    weights = group.edges + group.zeros + group.nonfinite
    mean = group.fractal_dimension["mean"]
    return [
        f"{group.neurons:,}",
        f"{group.counted_neurons:,}",
        f"{group.edges_in_range / weights:.1%}" if weights else "-",
        number(group.alpha_0, errors.get("alpha_0_stderr")),
        number(group.width, errors.get("width_stderr")),
        number(group.r2_min),
        "-" if mean is None else number(mean),
    ]


def _notes(analysis: Analysis) -> Iterator[str]:
    yield from analysis.warnings
    if analysis.network.undefined:
        yield f"the network has no exponents: {analysis.network.undefined}"
    missing = [g.name for g in analysis.layers if g.undefined]
    if missing:
        yield f"{len(missing):,} layers have no exponents, the first is {missing[0]}"
    if analysis.network.nonfinite:
        yield f"{analysis.network.nonfinite:,} weights that are NaN or infinite were dropped"


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print records that share their keys."""
    table = Table(show_edge=False, pad_edge=False)
    for key, value in rows[0].items():
        table.add_column(
            key.replace("_", " "),
            justify="right" if isinstance(value, int) else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    standard_output().print(table)


def print_preview(record: Mapping[str, Any]) -> None:
    """Print what `neuromfa.preview.preview` found."""
    console, coverage = standard_output(), record["coverage"]
    keys = ("name", "neurons", "weights", "bytes")
    print_table([{k: layer[k] for k in keys} for layer in record["layers"]])
    console.print(
        f"[bold]{record['source']}[/bold]  ({record['architecture']})\n"
        f"{record['tensors']:,} tensors: {len(coverage['analysed']):,} analysed, "
        f"{len(coverage['excluded']):,} excluded, {len(coverage['unknown']):,} unknown\n"
        f"{len(record['layers']):,} layers, {record['neurons']:,} neurons, "
        f"{record['weights']:,} weights, {record['weight_bytes']:,} bytes to count\n"
        f"{record['units']:,} units on {record['threads']} threads, at most "
        f"{record['memory_bytes'] / 1e6:,.0f} MB of private memory\n"
        f"about {record['seconds']:,.1f} s at {record['gigabytes_per_second']} GB/s, "
        "if storage keeps up",
        soft_wrap=True,
    )
    for warning in record["warnings"]:
        console.print(f"[yellow]note:[/yellow] {warning}", soft_wrap=True)


@contextmanager
def progress_bar(*, show: bool) -> Iterator[Callable[[AnalysisProgress], None]]:
    """Show bytes done, speed and time left on standard error, if that is a terminal."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("counting"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    ) as bar:
        task = bar.add_task("counting", total=None)
        yield lambda state: bar.update(task, completed=state.done_bytes, total=state.total_bytes)
