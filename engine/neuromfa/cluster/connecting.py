"""Finds the executor that the command line names: a Dask cluster, or the ranks of an MPI job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromfa.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Executor

PATIENCE = 30.0
"""Seconds to wait for a scheduler, or for the file that says where it is."""


@contextmanager
def connect(
    *,
    cluster: str | None = None,
    scheduler_file: Path | None = None,
    mpi: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Executor | None]:
    """Connect to workers that are there already; they stay when the connection ends.

    Parameters
    ----------
    cluster : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``.
    scheduler_file : Path, optional
        File in which a Dask scheduler wrote its address; it may still be on its way.
    mpi : bool
        Use the other ranks of this MPI job. In them this function does not return: they work, and
        leave with `SystemExit` when the first rank is done.
    say : callable
        Called with a sentence if there is something to wait for.

    Yields
    ------
    concurrent.futures.Executor or None
        None if nothing was named.

    Raises
    ------
    UsageError
        If several were named, or this is no MPI job of two ranks or more.
    ResourceError
        If a package is not installed, or the scheduler cannot be reached.
    """
    named = {"--cluster": cluster, "--scheduler-file": scheduler_file, "--mpi": mpi}
    if len(chosen := [option for option, value in named.items() if value]) > 1:
        raise UsageError(f"{' and '.join(chosen)}: name one of them")
    if mpi:
        with _ranks() as executor:
            yield executor
    elif chosen:
        with _dask(cluster, scheduler_file, say) as executor:
            yield executor
    else:
        yield None


@contextmanager
def _dask(address: str | None, file: Path | None, say: Callable[[str], None]) -> Iterator[Executor]:
    client_of = _dask_client()
    if file is not None:
        _wait_for(file, say)
    place: dict[str, Any] = {"address": address} if address else {"scheduler_file": str(file)}
    try:
        client = client_of(**place, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"{address or file}: no Dask scheduler answers ({error}); start one: dask scheduler"
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            say(f"{client.scheduler.address} has no workers yet; waiting for them")
        yield client.get_executor(pure=False)


def _dask_client() -> Callable[..., Any]:
    try:
        from distributed import Client  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ResourceError(
            f"a Dask cluster needs distributed ({error}); pip install 'neuromfa[cluster]'"
        ) from error
    return Client


def _wait_for(file: Path, say: Callable[[str], None]) -> None:
    """Let a scheduler that was started together with us write its file."""
    until = time.monotonic() + PATIENCE
    if not file.exists():
        say(f"{file} is not there yet; waiting for it")
    while not file.exists():
        if time.monotonic() > until:
            raise ResourceError(
                f"{file}: not there after {PATIENCE:g} seconds; start a scheduler that writes it: "
                f"dask scheduler --scheduler-file {file}"
            )
        time.sleep(0.1)


@contextmanager
def _ranks() -> Iterator[Executor]:
    try:
        from mpi4py import MPI  # noqa: PLC0415  (an extra)
        from mpi4py.futures import MPICommExecutor  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:  # the latter if there is no MPI library
        raise ResourceError(
            f"--mpi: {error}; pip install 'neuromfa[mpi]', and an MPI library if the site has none"
        ) from error
    if MPI.COMM_WORLD.Get_size() < 2:
        raise UsageError(
            "--mpi: this is one process, which leaves nobody to work; start several: mpiexec -n 9 "
            "neuromfa ..."
        )
    ranks: Any = MPICommExecutor(MPI.COMM_WORLD, root=0)  # its published type is wrong
    with ranks as executor:
        if executor is not None:
            yield executor
            return
    raise SystemExit(0)
