"""The verb that puts two checkpoints or analyses side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromfa.options import OPENING, PROTOCOL, RESOURCES, settings, with_options

if TYPE_CHECKING:
    from neuromfa.emergence.comparison import Comparison
    from neuromfa.protocol import Protocol
    from neuromfa.results import Analysis


@click.command()
@click.argument("a")
@click.argument("b")
@with_options(*PROTOCOL, *OPENING, *RESOURCES)
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
def compare(a: str, b: str, *, as_json: bool, **options: Any) -> None:
    """Put two checkpoints or analyses side by side, by role and block.

    A and B are checkpoints, or what `neuromfa analyse --output` wrote.
    """
    from neuromfa.emergence.comparison import compare as beside  # noqa: PLC0415  (slow to import)

    protocol, resources = settings(options)
    found = beside(*(_analysis(source, protocol, resources) for source in (a, b)))
    if as_json:
        click.echo(found.to_json(), nl=False)
    else:
        _print(found)


def _analysis(source: str, protocol: Protocol, resources: dict[str, Any]) -> Analysis:
    from neuromfa.analysis import analyse  # noqa: PLC0415  (slow to import)
    from neuromfa.storage import read_analysis  # noqa: PLC0415

    path = Path(source)
    written = path.suffix == ".json" and not path.name.endswith(".index.json")
    if (path / "analysis.json").is_file() or (written and path.is_file()):
        return read_analysis(path)
    return analyse(source, protocol, **resources)


def _print(found: Comparison) -> None:
    from rich.table import Table  # noqa: PLC0415  (slow to import)

    from neuromfa.console import number, standard_output  # noqa: PLC0415

    console = standard_output()
    for name, origin in (("a", found.a), ("b", found.b)):
        console.print(f"[bold]{name}[/bold]  {origin['source']}  ({origin['architecture']})")
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("group")
    for title in ("alpha_0 a", "alpha_0 b", "width a", "width b", "structure distance"):
        table.add_column(title, justify="right")
    last = ""
    for group in found.groups:
        if group["kind"] != last:
            table.add_section()
        last = group["kind"]
        prefix = "" if last == "network" else f"{last.removesuffix('s')} "
        cells = [
            number(group[side][of], group[side][f"{of}_stderr"])
            for of in ("alpha_0", "width")
            for side in ("a", "b")
        ]
        table.add_row(prefix + group["name"], *cells, number(group["structure_distance"]))
    console.print(table)
    for side, alone in (("a", found.only_a), ("b", found.only_b)):
        if alone:
            names = ", ".join(
                f"{group['kind'].removesuffix('s')} {group['name']}" for group in alone
            )
            console.print(f"[yellow]note:[/yellow] only {side} has {names}", soft_wrap=True)
    if found.a["content_hash"] == found.b["content_hash"]:
        console.print("[yellow]note:[/yellow] both have the same weights", soft_wrap=True)
    if not math.isfinite(found.groups[0]["structure_distance"]):
        console.print("[yellow]note:[/yellow] one of the networks has no exponents")
