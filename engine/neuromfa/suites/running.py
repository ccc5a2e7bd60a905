"""Running suites: whole, in parts, and putting the parts together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuromfa.devices import find_devices
from neuromfa.errors import BadInputError, PartialError, UsageError
from neuromfa.storage import atomic_file
from neuromfa.suites.assembly import assemble
from neuromfa.suites.entries import Entry
from neuromfa.suites.journal import Journal, Shard, open_journal
from neuromfa.suites.outcome import outcome
from neuromfa.suites.procedures import Resources
from neuromfa.suites.scoring import suite_scores
from neuromfa.suites.suite import Suite
from neuromfa.suites.suite_file import read_suite_file
from neuromfa.suites.suite_results import SuiteResults, read_suite
from neuromfa.suites.work import SuiteProgress, Work
from neuromfa.units import DEFAULT_MEMORY

if TYPE_CHECKING:
    from concurrent.futures import Executor

Source = Suite | str | os.PathLike[str]


def run_suite(
    suite: Source,
    *,
    output: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    device: str = "cpu",
    device_memory: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[SuiteProgress], None] | None = None,
) -> SuiteResults:
    """Analyse every checkpoint of a suite that is not analysed yet, and put the results together.

    A run that was stopped, by whatever, goes on where it was; a finished analysis is not made again
    unless the weights, the protocol or the version of neuromfa are others.

    Parameters
    ----------
    suite : Suite or path
        What to analyse, or the file that says so.
    output : path, optional
        Directory of the results; by default the suite's own.
    threads : int, optional
        As many as the process may use by default; changes no bit of the results.
    memory : int
        Bytes of private memory for the work in flight; changes no bit of the results.
    device : str
        As for `neuromfa.analyse`; controls and null models are always drawn on the CPU.
    device_memory : int, optional
        As for `neuromfa.analyse`.
    executor : concurrent.futures.Executor, optional
        As for `neuromfa.analyse`: the units of one checkpoint after the other are spread over it.
        Controls and null models are drawn here, and the sampled procedure works here.
    progress : callable, optional
        Called in the calling thread with a `SuiteProgress`; an exception from it stops the run.

    Returns
    -------
    SuiteResults
        Read from `output`, where they stay.

    Raises
    ------
    PartialError
        If checkpoints failed. The results of all others are in `output`: see `read_suite`.
    UsageError
        If the suite makes no sense, or another run is at work on it.
    BadInputError
        If its file is missing or broken, or a pattern fits nothing.
    ResourceError
        If `output` cannot be written.
    """
    suite, directory = _resolve(suite, output)
    scores = suite_scores(suite)  # what is wrong with them shows before anything is computed
    with open_journal(directory) as journal:
        resources = Resources(threads, memory, device, device_memory, executor)
        _work(suite, directory, journal, resources=resources, progress=progress).do(suite.entries())
        entries = assemble(suite, directory, journal, scores)
    _complain(entries, directory)
    return read_suite(directory)


def run_shard(  # noqa: PLR0913  (those of `run_suite`, and which part)
    suite: Source,
    shard: Shard,
    *,
    output: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    device: str = "cpu",
    device_memory: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[SuiteProgress], None] | None = None,
) -> tuple[Entry, ...]:
    """Analyse one of n parts of a suite: every n-th checkpoint.

    The parts may run at the same time, in one directory or in several; `merge_suite` puts them
    together. Parameters and errors are those of `run_suite`.

    Parameters
    ----------
    suite : Suite or path
        What to analyse, or the file that says so.
    shard : tuple of int
        Which part, from 1, of how many.
    output : path, optional
        Directory of the results; by default the suite's own.
    threads : int, optional
        As many as the process may use by default.
    memory : int
        Bytes of private memory for the work in flight.
    device : str
        As for `neuromfa.analyse`.
    device_memory : int, optional
        As for `neuromfa.analyse`.
    executor : concurrent.futures.Executor, optional
        As for `neuromfa.analyse`.
    progress : callable, optional
        Called in the calling thread with a `SuiteProgress`.

    Returns
    -------
    tuple of Entry
        The checkpoints of this part.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise UsageError(f"shard {part}/{parts}: write i/n with i from 1 to n")
    suite, directory = _resolve(suite, output)
    ours = suite.entries()[part - 1 :: parts]
    with open_journal(directory, shard) as journal:
        resources = Resources(threads, memory, device, device_memory, executor)
        _work(suite, directory, journal, resources=resources, progress=progress).do(ours)
        names = {entry.name for entry in ours}
        entries = tuple(e for e in outcome(suite, directory, journal) if e.name in names)
    _complain(entries, directory)
    return entries


def merge_suite(
    suite: Source,
    directories: Sequence[str | os.PathLike[str]] = (),
    *,
    output: str | os.PathLike[str] | None = None,
) -> SuiteResults:
    """Put together what the parts of a suite have found; the results are those of one run.

    Parameters
    ----------
    suite : Suite or path
        The suite whose parts were run.
    directories : sequence of path
        Where parts were run, besides `output`. They are left as they are.
    output : path, optional
        Directory of the results; by default the suite's own.

    Raises
    ------
    PartialError
        If checkpoints failed or are not done yet. The results of all others are in `output`.
    BadInputError
        If a directory holds no part of a suite.
    """
    suite, directory = _resolve(suite, output)
    scores = suite_scores(suite)
    with open_journal(directory) as journal:
        for other in map(Path, directories):
            _fetch(other, directory, journal)
        entries = assemble(suite, directory, journal, scores)
    _complain(entries, directory)
    return read_suite(directory)


def suite_status(
    suite: Source, *, output: str | os.PathLike[str] | None = None
) -> tuple[Entry, ...]:
    """Every checkpoint of a suite with its state, as the journal has it; nothing is opened.

    Parameters
    ----------
    suite : Suite or path
        The suite.
    output : path, optional
        Directory of the results; by default the suite's own.
    """
    suite, directory = _resolve(suite, output)
    return outcome(suite, directory, Journal(directory))


def _resolve(suite: Source, output: str | os.PathLike[str] | None) -> tuple[Suite, Path]:
    found = suite if isinstance(suite, Suite) else read_suite_file(suite)
    directory = output or found.output
    if directory is None:
        raise UsageError(f"suite {found.name}: has no output; give a directory for its results")
    return found, Path(directory)


def _work(
    suite: Suite,
    directory: Path,
    journal: Journal,
    *,
    resources: Resources,
    progress: Callable[[SuiteProgress], None] | None,
) -> Work:
    if resources.threads is not None and resources.threads < 1:
        raise UsageError(f"threads {resources.threads}: must be at least 1")
    if resources.executor is None:
        find_devices(resources.device)  # what is not there is said before anything is done
    show = progress or (lambda _: None)
    return Work(suite, directory, journal, resources=resources, progress=show)


def _fetch(other: Path, directory: Path, journal: Journal) -> None:
    """Copy finished work, and then what the journal of its directory says of it."""
    if not any(other.glob("log*.jsonl")):
        raise BadInputError(f"{other}: holds no part of a suite; give the --output of a shard")
    if other.resolve() == directory.resolve():
        return
    for folder in ("analyses", "controls"):
        for path in sorted((other / folder).glob("[!.]*.json")):
            target = directory / folder / path.name
            if not target.exists():
                with path.open("rb") as source, atomic_file(target) as file:
                    shutil.copyfileobj(source, file)
    journal.take(other)


def _complain(entries: Sequence[Entry], directory: Path) -> None:
    """Say how many did not come through, and where the reasons are."""
    failed = [entry for entry in entries if entry.error is not None]
    pending = [entry for entry in entries if entry.state == "pending"]
    for which, what in ((failed, "failed"), (pending, "are not done yet")):
        if which:
            raise PartialError(
                f"{directory}: {len(which)} of {len(entries)} checkpoints {what}, the first is "
                f"{which[0].name} ({which[0].error or which[0].source}); the others are done, "
                "neuromfa suite status lists them all, and running it again does what is missing"
            )
