"""Roots: the directories whose checkpoints may be analysed, and nothing outside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from neuromfa.errors import BadInputError, UsageError

MOST_CHARACTERS = 1024
"""Of a name that a client gives."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


class Roots:
    """Directories by name; clients write ``NAME/PATH`` and never learn where they are.

    Parameters
    ----------
    directories : mapping of str to path
        By name, existing directories.

    Raises
    ------
    UsageError
        If there are none, a name has other characters than letters, digits, ``.``, ``_`` and
        ``-``, or one is no directory.
    """

    def __init__(self, directories: Mapping[str, str | os.PathLike[str]]) -> None:
        if not directories:
            raise UsageError("roots: there are none; give a directory with --root")
        self.directories: dict[str, Path] = {}
        for name, directory in directories.items():
            if not _NAME.fullmatch(name):
                raise UsageError(f"root {name!r}: is no name; write --root NAME={directory}")
            if not Path(directory).is_dir():
                raise UsageError(f"root {directory}: is not a directory; give one that exists")
            self.directories[name] = Path(os.path.realpath(directory))

    @classmethod
    def parse(cls, options: Iterable[str]) -> Roots:
        """Read ``DIR`` or ``NAME=DIR``; a directory without a name is called by its last part."""
        found: dict[str, str] = {}
        for option in options:
            name, equals, directory = option.partition("=")
            if not equals or "/" in name:
                name, directory = Path(os.path.realpath(option)).name, option
            if found.setdefault(name, directory) != directory:
                raise UsageError(
                    f"root {name}: is both {found[name]} and {directory}; write --root NAME=DIR"
                )
        return cls(found)

    def resolve(self, name: str) -> Path:
        """The real path of ``ROOT/PATH``, every link in it followed.

        Raises
        ------
        UsageError
            If it is not written like that.
        BadInputError
            If there is nothing of that name, or a link leads out of the roots: which of the two,
            a client does not learn.
        """
        parts = name.removesuffix("/").split("/")
        if (
            len(name) > MOST_CHARACTERS
            or not name.isprintable()
            or {"", ".", ".."} & set(parts)
            or parts[0] not in self.directories
        ):
            raise UsageError(
                f"{name[:80]!r}: is not below a root; write ROOT/PATH, where ROOT is "
                f"{' or '.join(self.directories)}"
            )
        path = self.directories[parts[0]].joinpath(*parts[1:])
        try:
            real = Path(os.path.realpath(path, strict=True))
        except (OSError, ValueError):  # ValueError: what no file system can spell
            real = None
        if real is None or not self.contain(real):
            raise BadInputError(f"{name}: nothing of that name is below the roots; correct it")
        return real

    def contain(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path, as it is written, lies in a root."""
        return any(Path(path).is_relative_to(root) for root in self.directories.values())

    def name(self, path: Path) -> str:
        """``ROOT/PATH`` of a real path."""
        return self.hide(str(path))

    def hide(self, text: str) -> str:
        """A message with the names of roots instead of their places."""
        # The longest first: one root may lie in another.
        for name, root in sorted(self.directories.items(), key=lambda item: -len(str(item[1]))):
            text = text.replace(str(root), name)
        return text
