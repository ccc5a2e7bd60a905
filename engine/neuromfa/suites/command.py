"""The verb ``suite`` of the command line."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromfa.cluster.choice import CLUSTER, chosen_executor
from neuromfa.errors import PartialError, UsageError
from neuromfa.options import RESOURCES, resource_settings, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from neuromfa.suites.entries import Entry
    from neuromfa.suites.work import SuiteProgress

_FILE = click.argument("file", type=click.Path(path_type=Path))
_OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), help="Directory of the results."
)
_QUIET = click.option("--quiet", is_flag=True, help="No progress, no table.")


@click.group()
def suite() -> None:
    """Analyse many checkpoints: run a suite, see how far it is, merge its parts."""


@suite.command()
@_FILE
@_OUTPUT
@click.option("--shard", help="Do part I of N only, written I/N; then merge.")
@with_options(*RESOURCES, *CLUSTER)
@_QUIET
def run(
    file: Path,
    *,
    output: Path | None,
    shard: str | None,
    quiet: bool,
    **resources: Any,
) -> None:
    """Analyse what is not analysed yet of the suite in FILE, and put the results together."""
    from neuromfa.suites.running import run_shard, run_suite, suite_status  # noqa: PLC0415
    from neuromfa.suites.suite_file import read_suite_file  # noqa: PLC0415

    resources = resource_settings(resources)
    asked = read_suite_file(file)
    part = None if shard is None else _part(shard)
    failure: PartialError | None = None
    try:
        with (
            chosen_executor(resources) as executor,
            _progress_bar(show=not quiet) as show,
        ):
            resources |= {"output": output, "progress": show, "executor": executor}
            if part is None:
                run_suite(asked, **resources)
            else:
                run_shard(asked, part, **resources)
    except PartialError as error:
        failure = error
    if not quiet:
        _print(suite_status(asked, output=output))
    if failure:
        raise failure


@suite.command()
@_FILE
@_OUTPUT
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(file: Path, *, output: Path | None, as_json: bool) -> None:
    """Tell what has become of every checkpoint of the suite in FILE."""
    from neuromfa.suites.running import suite_status  # noqa: PLC0415  (slow to import)

    entries = suite_status(file, output=output)
    if as_json:
        click.echo(json.dumps([entry.to_dict() for entry in entries], indent=1))
    else:
        _print(entries)


@suite.command()
@_FILE
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path))
@_OUTPUT
@_QUIET
def merge(file: Path, directories: Sequence[Path], *, output: Path | None, quiet: bool) -> None:
    """Put together what the parts of the suite in FILE have found, in DIRECTORIES if elsewhere."""
    from neuromfa.suites.running import merge_suite  # noqa: PLC0415  (slow to import)

    found = merge_suite(file, directories, output=output)
    if not quiet:
        _print(found.entries)


def _part(text: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)):
        raise UsageError(f"--shard {text}: write I/N, like 1/8")
    return int(found[1]), int(found[2])


def _print(entries: Sequence[Entry]) -> None:
    from neuromfa import console  # noqa: PLC0415  (slow to import)

    rows = []
    for entry in entries:
        note = entry.error or (f"same weights as {entry.duplicate_of}" * bool(entry.duplicate_of))
        place = "-" if entry.step is None else entry.step
        row = {"model": entry.model, "checkpoint": entry.revision, "step": place}
        rows.append(row | {"state": entry.state, "note": note})
    console.print_table(rows)


@contextmanager
def _progress_bar(*, show: bool) -> Iterator[Callable[[SuiteProgress], None]]:
    """Show checkpoints done on standard error, if that is a terminal; failures in any case."""
    from rich.console import Console  # noqa: PLC0415  (slow to import)
    from rich.progress import MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    with Progress(
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[share]}"),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    ) as bar:
        task = bar.add_task("opening", total=None, share="")

        def update(state: SuiteProgress) -> None:
            if state.error and show:
                bar.console.print(
                    f"{state.entry.name}: {state.error}", markup=False, soft_wrap=True
                )
            inner = state.analysis
            share = f"{inner.done_bytes / max(inner.total_bytes, 1):.0%}" if inner else state.stage
            name = state.entry.name
            bar.update(task, completed=state.done, total=state.total, description=name, share=share)

        yield update
