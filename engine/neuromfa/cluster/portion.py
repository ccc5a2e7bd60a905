"""What travels to a worker instead of weights: which tensors lie where in which files."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from neuromfa.checkpoint import Checkpoint, TensorRef
from neuromfa.errors import BadInputError, UsageError
from neuromfa.mapped_files import MappedFiles
from neuromfa.safetensors_file import unreadable


@dataclass(frozen=True, slots=True)
class FileMark:
    """By which a worker recognises a file.

    Attributes
    ----------
    path : str
        Absolute.
    size : int
        Bytes.
    seconds : int
        Time of the last change; whole seconds, because some network file systems keep no more.
    """

    path: str
    size: int
    seconds: int

    @classmethod
    def of(cls, path: str) -> FileMark:
        """Look at a file.

        Raises
        ------
        BadInputError
            If it is not there or out of reach.
        """
        try:
            found = Path(path).stat()
        except OSError as error:
            raise unreadable(Path(path), error) from None
        return cls(path, found.st_size, int(found.st_mtime))

    def check(self) -> None:
        """Make sure that this machine sees the same file.

        Raises
        ------
        BadInputError
            If it is not there, or another one.
        """
        host = socket.gethostname()
        try:
            here = FileMark.of(self.path)
        except BadInputError as error:
            raise BadInputError(
                f"worker on {host}: {error}; every worker must see the checkpoint under this path"
            ) from None
        if here != self:
            raise BadInputError(
                f"worker on {host}: {self.path} is {here.size} bytes of time {here.seconds}, but "
                f"{self.size} bytes of time {self.seconds} where the analysis was started; give "
                "all machines the same file (copies must keep its time: cp -p, rsync -a)"
            )


@dataclass(frozen=True, slots=True)
class Portion:
    """Some tensors of a checkpoint, as a worker opens them.

    Attributes
    ----------
    source : str
        The checkpoint, for messages.
    tensors : tuple of TensorRef
        Each with its file and place.
    files : tuple of FileMark
        These files.
    """

    source: str
    tensors: tuple[TensorRef, ...]
    files: tuple[FileMark, ...]

    def open(self) -> Checkpoint:
        """Open the files here. No header is read: the portion says what is where.

        Raises
        ------
        BadInputError
            If a file is not there, or not the one that the coordinator sees.
        """
        for mark in self.files:
            mark.check()
        return Checkpoint(
            source=self.source,
            tensors={ref.name: ref for ref in self.tensors},
            store=MappedFiles({mark.path: mark.size for mark in self.files}),
        )


class Portions:
    """Cuts an opened checkpoint into portions.

    Parameters
    ----------
    checkpoint : Checkpoint
        One whose tensors lie in files.

    Raises
    ------
    UsageError
        If they are in memory.
    BadInputError
        If a file has gone.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.source = checkpoint.source
        if any(not ref.file for ref in checkpoint.tensors.values()):
            raise UsageError(
                f"{self.source}: its weights are in this process's memory, and weights are not "
                "sent to a cluster; save them as safetensors where every worker can read them, "
                "and give that path"
            )
        # Workers have working directories of their own.
        absolute = {ref.file: str(Path(ref.file).absolute()) for ref in checkpoint.tensors.values()}
        self._refs = {
            name: replace(ref, file=absolute[ref.file]) for name, ref in checkpoint.tensors.items()
        }
        self._marks = {path: FileMark.of(path) for path in absolute.values()}

    def of(self, tensors: Iterable[str]) -> Portion:
        """Take some tensors by name."""
        refs = tuple(self._refs[name] for name in tensors)
        files = dict.fromkeys(ref.file for ref in refs)
        return Portion(self.source, refs, tuple(self._marks[path] for path in files))
