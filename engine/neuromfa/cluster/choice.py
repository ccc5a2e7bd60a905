"""Options of the command line that name workers elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromfa.options import ON_CLUSTER

if TYPE_CHECKING:
    from concurrent.futures import Executor

CLUSTER = (
    click.option("--cluster", metavar="ADDRESS", help="Dask scheduler, like tcp://HOST:8786."),
    click.option(
        "--scheduler-file",
        type=click.Path(path_type=Path),
        help="File in which a Dask scheduler wrote its address.",
    ),
    click.option("--mpi", is_flag=True, help="Work on the other ranks of this MPI job."),
)
"""Workers elsewhere that do the work; never change a bit of a result."""


@contextmanager
def chosen_executor(options: dict[str, Any]) -> Iterator[Executor | None]:
    """Take `CLUSTER` out of the options of a verb, and connect to what it names; None if nothing.

    The ranks of an MPI job that work for the first one do not come back from here.
    """
    named = {name: options.pop(name) for name in ON_CLUSTER}
    if not any(named.values()):
        yield None
        return
    from neuromfa.cluster.connecting import connect  # noqa: PLC0415  (slow to import)

    with connect(**named, say=lambda text: click.echo(f"neuromfa: {text}", err=True)) as executor:
        yield executor
