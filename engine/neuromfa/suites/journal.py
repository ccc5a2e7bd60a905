"""The journal of a suite: what was done when and how fast; one line of JSON for each event.

Everything that differs from run to run is here, so that nothing of it is in the results.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from neuromfa.errors import ResourceError, UsageError
from neuromfa.suites.entries import Entry

_LEFT_BEHIND = re.compile(r"\..+\.[0-9a-f]{8}")
"""Files that a run was writing when it was killed."""

_FOLDERS = ("", "analyses", "controls")

Shard = tuple[int, int]
"""Which part of how many, from 1."""


class Journal:
    """Events of all runs so far; what is appended is on disk at once.

    Parameters
    ----------
    directory : Path
        Of the results.
    file : binary file, optional
        Where events are appended; without it the journal is for reading.

    Attributes
    ----------
    events : list of dict
        In the order of time.
    """

    def __init__(self, directory: Path, file: IO[bytes] | None = None) -> None:
        self.events = read_events(directory)
        self._file = file
        self._last = {_about(event): event for event in self.events}

    def append(self, event: dict[str, Any]) -> None:
        """Write down that something was done, or failed, with the time."""
        self._keep(event | {"time": datetime.now(UTC).isoformat(timespec="microseconds")})

    def take(self, directory: Path) -> None:
        """Take over the events of another directory that are not known here."""
        known = {json.dumps(event) for event in self.events}
        for event in read_events(directory):
            if json.dumps(event) not in known:
                self._keep(event)
        self.events.sort(key=lambda event: str(event["time"]))
        self._last = {_about(event): event for event in self.events}

    def _keep(self, event: dict[str, Any]) -> None:
        if self._file is None:
            raise ValueError("the journal was opened for reading")
        self.events.append(event)
        self._last[_about(event)] = event
        try:
            self._file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ResourceError(
                f"{self._file.name}: cannot be written ({error.strerror or error}); make room"
            ) from error

    def last(self, kind: str, entry: Entry) -> Mapping[str, Any]:
        """The last event of a kind about an entry; empty if there is none."""
        return self._last.get((kind, entry.model, entry.revision), {})


def _about(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(event.get(key) for key in ("event", "model", "revision"))


def read_events(directory: Path) -> list[dict[str, Any]]:
    """Events of all journals in a directory, in the order of time."""
    events = []
    for path in sorted(directory.glob("log*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # a run was killed while it wrote this line
                continue
            if isinstance(event, dict) and "time" in event:
                events.append(event)
    return sorted(events, key=lambda event: str(event["time"]))


@contextmanager
def open_journal(directory: Path, shard: Shard | None = None) -> Iterator[Journal]:
    """Open the journal for appending, and hold the directory against other runs.

    A run of the whole suite is alone; the runs of parts may go on side by side.

    Raises
    ------
    UsageError
        If another run is at work in the directory.
    ResourceError
        If it cannot be written.
    """
    path = directory / "log.jsonl"
    own = path if shard is None else directory / f"log-{shard[0]}-of-{shard[1]}.jsonl"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as whole, own.open("a+b") as file:
            _hold(whole, fcntl.LOCK_SH if shard else fcntl.LOCK_EX)
            if shard:
                _hold(file, fcntl.LOCK_EX)
            else:
                _sweep(directory)
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a run was killed while it wrote the last line
                    file.write(b"\n")
            yield Journal(directory, file)
    except OSError as error:
        raise ResourceError(
            f"{directory}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


def _hold(file: IO[bytes], how: int) -> None:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{file.name}: another run of this suite is at work in the same directory; wait for it "
            "or choose another --output"
        ) from None
    except OSError:  # a file system without locks; results are whole all the same
        pass


def _sweep(directory: Path) -> None:
    """Remove what killed runs have left half written."""
    for folder in _FOLDERS:
        for path in (directory / folder).glob(".*"):
            if _LEFT_BEHIND.fullmatch(path.name):
                path.unlink(missing_ok=True)
